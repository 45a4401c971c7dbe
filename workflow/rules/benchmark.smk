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
        table=BENCHMARK + "/{set}.csv",
        images=directory(BENCHMARK + "/images/{set}"),
    params:
        **sections("seed", "scale", "runtime", "vae", "benchmark"),
        gallery=PARAMS.report.gallery,
    log:
        LOGS + "/benchmark/{set}.log",
    benchmark:
        LOGS + "/benchmark/{set}.benchmark.tsv"
    threads: PARAMS.runtime.threads
    resources:
        mem_mb=4000,
        gpu=GPUS,
    script:
        "../scripts/benchmark.py"


rule benchmark:
    input:
        expand(rules.benchmark_set.output.table, set=PARAMS.data.test),
    localrule: True
