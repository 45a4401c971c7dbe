"""Data: every image set of the study, checked, in data/raw/<public or private>/<set>/; what training and test images share."""

DATA = f"{RESULTS}/data"


rule dataset:
    input:
        registry=from_here(ROOT / "data/datasets.csv")[0],
        code=code("sources"),
    output:
        manifest="data/raw/{access}/{set}/manifest.json",
        provenance="data/raw/{access}/{set}/provenance.json",
    log:
        f"{LOGS}/dataset/{{access}}/{{set}}.log",
    benchmark:
        f"{LOGS}/dataset/{{access}}/{{set}}.benchmark.tsv"
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
            manifest="data/raw/{access}/{set}/manifest.json",
            provenance="data/raw/{access}/{set}/provenance.json",
        log:
            f"{LOGS}/generate/{{access}}/{{set}}.log",
        benchmark:
            f"{LOGS}/generate/{{access}}/{{set}}.benchmark.tsv"
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


# What is learned from apart from what is held back, by content: for DVC, data/raw is one thing, which a new test set changes.
rule list_sets:
    input:
        learning=raw(PARAMS.data.learning),
        held_back=raw(PARAMS.data.held_back),
        code=code("files"),
    output:
        learning=f"{DATA}/learning.json",
        held_back=f"{DATA}/held_back.json",
        provenance=f"{DATA}/sets.provenance.json",
    log:
        f"{LOGS}/list_sets.log",
    benchmark:
        f"{LOGS}/list_sets.benchmark.tsv"
    conda:
        "../envs/fsr.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
    script:
        "../scripts/list_sets.py"


rule data:
    input:
        raw(PARAMS.data.learning + PARAMS.data.held_back),
        f"{DATA}/learning.json",
        f"{DATA}/accepted.json",
    localrule: True
