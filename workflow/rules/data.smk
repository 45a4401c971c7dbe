"""Data: every image set of the study, checked, in data/raw/<set>/; what training and test images share."""

DATA = f"{RESULTS}/data"


rule dataset:
    input:
        registry=from_here(ROOT / "data/datasets.csv")[0],
        code=code("sources"),
    output:
        manifest="data/raw/{set}/manifest.json",
    log:
        f"{LOGS}/dataset/{{set}}.log",
    benchmark:
        f"{LOGS}/dataset/{{set}}.benchmark.tsv"
    wildcard_constraints:
        set=f"(?!(?:{'|'.join(GENERATED)})/)[A-Za-z0-9_-]+",
    conda:
        "../envs/fsr.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
    params:
        folder=lambda wildcards: PARAMS.data.folders.get(wildcards.set),
        exclude=lambda wildcards: PARAMS.data.exclude.get(wildcards.set, []),
        at_hand=lambda wildcards: wildcards.set not in PARAMS.data.optional or is_at_hand(wildcards.set),
        # Where downloads are kept: outside the outputs, which are deleted when a job fails.
        work=".cache/downloads",
    script:
        "../scripts/dataset.py"


if GENERATED:

    rule generate:
        input:
            registry=from_here(ROOT / "data/datasets.csv")[0],
            code=code("sources"),
        output:
            manifest="data/raw/{set}/manifest.json",
        log:
            f"{LOGS}/generate/{{set}}.log",
        benchmark:
            f"{LOGS}/generate/{{set}}.benchmark.tsv"
        wildcard_constraints:
            set="|".join(GENERATED),
        conda:
            "../envs/fsr.yaml"
        threads: PARAMS.runtime.threads
        resources:
            mem_mb=memory(40000, GPUS),
            gpu=GPUS,
        params:
            **sections("seed", "generate"),
            device=PARAMS.runtime.device,
            work=".cache/generate",
        script:
            "../scripts/generate.py"


rule leakage:
    input:
        sets=raw(PARAMS.data.learning + PARAMS.data.test),
        code=code("leakage"),
    output:
        report=f"{DATA}/leakage.json",
        picture=f"{DATA}/leakage.png",
    log:
        f"{LOGS}/leakage.log",
    benchmark:
        f"{LOGS}/leakage.benchmark.tsv"
    conda:
        "../envs/fsr.yaml"
    threads: PARAMS.runtime.threads
    resources:
        mem_mb=memory(3000),
    script:
        "../scripts/leakage.py"


# Apart from the search, since the outputs of a job that fails are deleted: what was found must stay to be read.
rule accept_leakage:
    input:
        report=rules.leakage.output.report,
        code=code("leakage"),
    output:
        accepted=f"{DATA}/accepted.json",
    log:
        f"{LOGS}/accept_leakage.log",
    benchmark:
        f"{LOGS}/accept_leakage.benchmark.tsv"
    conda:
        "../envs/fsr.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
    params:
        action=PARAMS.data.leakage,
    script:
        "../scripts/accept_leakage.py"


rule data:
    input:
        raw(PARAMS.data.learning + PARAMS.data.held_back),
        rules.accept_leakage.output.accepted,
    localrule: True
