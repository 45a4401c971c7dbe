"""Data: every image set of the study, verified, in data/raw/<set>/."""


rule dataset:
    input:
        registry=from_here(ROOT / "data/datasets.csv")[0],
        code=code("datasets"),
    output:
        manifest="data/raw/{set}/manifest.json",
    log:
        f"{LOGS}/dataset/{{set}}.log",
    benchmark:
        f"{LOGS}/dataset/{{set}}.benchmark.tsv"
    conda:
        "../envs/fsr.yaml"
    threads: 1
    resources:
        mem_mb=1000,
    params:
        folder=lambda wildcards: PARAMS.data.folders.get(wildcards.set),
    script:
        "../scripts/dataset.py"


rule data:
    input:
        expand(rules.dataset.output.manifest, set=PARAMS.data.train + PARAMS.data.test),
    localrule: True
