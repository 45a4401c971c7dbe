"""Distributions: what sets a row's images apart from the reference sets, taken together."""


rule reference_features:
    input:
        manifest=manifest_of,
        code=code("benchmark.features"),
    output:
        features=f"{BENCHMARK}/features/reference/{{set}}.safetensors",
        provenance=f"{BENCHMARK}/features/reference/{{set}}.provenance.json",
    log:
        f"{LOGS}/reference_features/{{set}}.log",
    benchmark:
        f"{LOGS}/reference_features/{{set}}.benchmark.tsv"
    conda:
        "../envs/fsr.yaml"
    threads: PARAMS.runtime.threads
    resources:
        mem_mb=memory(4000, GPUS),
        gpu=GPUS,
    params:
        **sections("seed", "runtime"),
        distribution=config["benchmark"]["distribution"],
    script:
        "../scripts/reference_features.py"


rule distribution:
    input:
        rows=of_every_set(rules.benchmark_set.output.features),
        field=rules.train_field.output.config,
        references=expand(rules.reference_features.output.features, set=PARAMS.data.reference),
        code=code("benchmark.distribution"),
    output:
        table=f"{BENCHMARK}/distribution.csv",
        provenance=f"{BENCHMARK}/distribution.provenance.json",
    log:
        f"{LOGS}/distribution.log",
    benchmark:
        f"{LOGS}/distribution.benchmark.tsv"
    conda:
        "../envs/fsr.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
    params:
        **sections("seed"),
        distribution=config["benchmark"]["distribution"],
        upscalers=PARAMS.benchmark.upscalers,
        sets=[(scale, name, bool(mode)) for scale in PARAMS.scales for mode, name in MEASURED],
    script:
        "../scripts/distribution.py"
