"""Benchmark: every row on every test set, under one protocol."""

BENCHMARK = f"{RESULTS}/benchmark"


rule benchmark_set:
    input:
        manifest=rules.dataset.output.manifest,
        weights=rules.train_field.output.weights,
        field=rules.train_field.output.config,
        autoencoder=autoencoder_files(),
        code=code("benchmark", "autoencoders"),
    output:
        table=f"{BENCHMARK}/{{set}}.csv",
        images=directory(f"{BENCHMARK}/images/{{set}}"),
    log:
        f"{LOGS}/benchmark/{{set}}.log",
    benchmark:
        f"{LOGS}/benchmark/{{set}}.benchmark.tsv"
    conda:
        "../envs/fsr.yaml"
    threads: PARAMS.runtime.threads
    resources:
        mem_mb=4000,
        gpu=GPUS,
    params:
        **sections("seed", "scale", "runtime", "vae", "benchmark"),
        gallery=PARAMS.report.gallery,
    script:
        "../scripts/benchmark.py"


rule benchmark:
    input:
        expand(rules.benchmark_set.output.table, set=PARAMS.data.test),
    localrule: True
