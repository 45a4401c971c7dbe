"""Benchmark: every row on every test set, at every scale and under every protocol."""

BENCHMARK = f"{RESULTS}/benchmark"
ROW_SHARDS = min(PARAMS.benchmark.shards, len(PARAMS.benchmark.upscalers))


wildcard_constraints:
    scale=r"[0-9]+",


rule benchmark_rows:
    input:
        manifest=rules.dataset.output.manifest,
        weights=rules.train_field.output.weights,
        field=rules.train_field.output.config,
        autoencoder=autoencoder_files(),
        code=code("benchmark", "autoencoders"),
    output:
        cells=temp(f"{BENCHMARK}/shards/x{{scale}}/{{set}}/{{shard}}-of-{{shards}}/cells.csv"),
        # Of each shard its own, so that a job that fails loses no other's; the set's folder is put together of them.
        pictures=temp(directory(f"{BENCHMARK}/shards/x{{scale}}/{{set}}/{{shard}}-of-{{shards}}/pictures")),
    log:
        f"{LOGS}/benchmark_rows/x{{scale}}/{{set}}/{{shard}}-of-{{shards}}.log",
    benchmark:
        f"{LOGS}/benchmark_rows/x{{scale}}/{{set}}/{{shard}}-of-{{shards}}.benchmark.tsv"
    conda:
        "../envs/fsr.yaml"
    threads: PARAMS.runtime.threads
    resources:
        mem_mb=memory(4000, GPUS),
        gpu=GPUS,
    params:
        **sections("seed", "runtime", "vae", "benchmark"),
        gallery=PARAMS.report.gallery,
    script:
        "../scripts/benchmark.py"


rule benchmark_set:
    input:
        cells=expand(rules.benchmark_rows.output.cells, shard=range(ROW_SHARDS), shards=ROW_SHARDS, allow_missing=True),
        pictures=expand(
            rules.benchmark_rows.output.pictures, shard=range(ROW_SHARDS), shards=ROW_SHARDS, allow_missing=True
        ),
        # What a shard depends on: its files are gone when the table stands, so changes are seen here.
        shard=rules.benchmark_rows.input,
    output:
        table=f"{BENCHMARK}/x{{scale}}/{{set}}.csv",
        pictures=directory(f"{BENCHMARK}/images/x{{scale}}/{{set}}"),
    log:
        f"{LOGS}/benchmark/x{{scale}}/{{set}}.log",
    benchmark:
        f"{LOGS}/benchmark/x{{scale}}/{{set}}.benchmark.tsv"
    conda:
        "../envs/fsr.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
    params:
        **sections("seed", "runtime", "vae", "benchmark"),
        gallery=PARAMS.report.gallery,
    script:
        "../scripts/join_rows.py"


rule benchmark:
    input:
        expand(rules.benchmark_set.output.table, scale=PARAMS.scales, set=PARAMS.data.test),
    localrule: True
