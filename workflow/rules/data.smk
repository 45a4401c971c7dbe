"""Data: every image set of the study, verified, in data/raw/<set>/."""


rule dataset:
    input:
        registry=from_here(ROOT / "data/datasets.csv")[0],
        code=code("datasets"),
    output:
        manifest="data/raw/{set}/manifest.json",
    params:
        folder=lambda wildcards: PARAMS.data.folders.get(wildcards.set),
    log:
        LOGS + "/dataset/{set}.log",
    benchmark:
        LOGS + "/dataset/{set}.benchmark.tsv"
    threads: 1
    resources:
        mem_mb=1000,
    script:
        "../scripts/dataset.py"


rule data:
    input:
        expand(rules.dataset.output.manifest, set=PARAMS.data.train + PARAMS.data.test),
    localrule: True
