"""Leakage: what training and test images share, and whether the study goes on."""


rule leakage:
    input:
        learning=raw(PARAMS.data.learning),
        test=raw(PARAMS.data.test),
        code=code("leakage"),
    output:
        report=f"{DATA}/leakage.json",
        picture=f"{DATA}/leakage.png",
        provenance=f"{DATA}/leakage.provenance.json",
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
        provenance=f"{DATA}/accepted.provenance.json",
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
