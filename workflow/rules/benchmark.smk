"""Benchmark: every row on every test set at every scale, under every protocol."""

BENCHMARK = f"{RESULTS}/benchmark"
PICTURES = f"{RESULTS}/pictures/{access([name for _, name in MEASURED])}"  # whole test images, as the rows have them
ROW_SHARDS = PARAMS.benchmark.shards
MEASURING = {key: value for key, value in config["benchmark"].items() if key not in ("runtime", "bootstrap")}
SHARD = f"{BENCHMARK}/shards/{{mode}}x{{scale}}/{{set}}/{{shard}}-of-{{shards}}"
MEASURED_WITH = {
    "weights": rules.train_field.output.weights,
    "field": rules.train_field.output.config,
    "rivals": expand(rules.train_rival.output.weights, model=TRAINED),
    "rival_configs": expand(rules.train_rival.output.config, model=TRAINED),
    "rival_files": RIVAL_FILES,
    "autoencoder": autoencoder_files(),
    "code": code("benchmark", "autoencoders"),
}


wildcard_constraints:
    scale=r"[0-9]+",
    mode=f"({BASE_ONLY})?",


rule benchmark_rows:
    input:
        **MEASURED_WITH,
        manifest=manifest_of,
    output:
        cells=temp(f"{SHARD}/cells.csv"),
        # Of each shard its own, so that a job that fails loses no other's; the set's folders are put together of them.
        pictures=temp(directory(f"{SHARD}/pictures")),
        features=temp(directory(f"{SHARD}/features")),
    log:
        f"{LOGS}/benchmark_rows/{{mode}}x{{scale}}/{{set}}/{{shard}}-of-{{shards}}.log",
    benchmark:
        f"{LOGS}/benchmark_rows/{{mode}}x{{scale}}/{{set}}/{{shard}}-of-{{shards}}.benchmark.tsv"
    conda:
        "../envs/fsr.yaml"
    threads: PARAMS.runtime.threads
    resources:
        mem_mb=memory_of_rows,
        gpu=GPUS,
    params:
        **sections("seed", "runtime", "vae"),
        rivals=METHODS,
        measuring=MEASURING,
        gallery=PARAMS.report.gallery,
        reference=PARAMS.data.reference,
        models=list(TRAINED),
    script:
        "../scripts/benchmark.py"


rule benchmark_set:
    input:
        **MEASURED_WITH,
        cells=expand(rules.benchmark_rows.output.cells, shard=range(ROW_SHARDS), shards=ROW_SHARDS, allow_missing=True),
        pictures=expand(
            rules.benchmark_rows.output.pictures, shard=range(ROW_SHARDS), shards=ROW_SHARDS, allow_missing=True
        ),
        features=expand(
            rules.benchmark_rows.output.features, shard=range(ROW_SHARDS), shards=ROW_SHARDS, allow_missing=True
        ),
        # What a shard depends on: its files are gone when the table stands, so changes are seen here.
        manifest=manifest_of,
    output:
        table=f"{BENCHMARK}/{{mode}}x{{scale}}/{{set}}.csv",
        pictures=directory(f"{PICTURES}/{{mode}}x{{scale}}/{{set}}"),
        features=directory(f"{BENCHMARK}/features/{{mode}}x{{scale}}/{{set}}"),
        provenance=f"{BENCHMARK}/{{mode}}x{{scale}}/{{set}}.provenance.json",
    log:
        f"{LOGS}/benchmark/{{mode}}x{{scale}}/{{set}}.log",
    benchmark:
        f"{LOGS}/benchmark/{{mode}}x{{scale}}/{{set}}.benchmark.tsv"
    conda:
        "../envs/fsr.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
    params:
        **sections("seed", "runtime", "vae"),
        rivals=METHODS,
        measuring=MEASURING,
        gallery=PARAMS.report.gallery,
        reference=PARAMS.data.reference,
    script:
        "../scripts/join_rows.py"


rule benchmark:
    input:
        of_every_set(rules.benchmark_set.output.table),
        f"{BENCHMARK}/distribution.csv",
        f"{BENCHMARK}/runtime.csv",
    localrule: True
