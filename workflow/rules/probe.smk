"""Probe: one job a cut, then the best cut."""

PROBE = f"{RESULTS}/probe"


rule probe_cut:
    input:
        latents=rules.encode.output.manifest,
        autoencoder=autoencoder_files(),
        code=code("probe", "autoencoders"),
    output:
        report=PROBE + "/{cut}.json",
        picture=PROBE + "/{cut}.png",
    params:
        **sections("seed", "scale", "runtime", "vae"),
        crops=PARAMS.probe.crops,
        field=config["train"]["field"],
    log:
        LOGS + "/probe/{cut}.log",
    benchmark:
        LOGS + "/probe/{cut}.benchmark.tsv"
    threads: PARAMS.runtime.threads
    resources:
        mem_mb=4000,
        gpu=GPUS,
    script:
        "../scripts/probe.py"


rule select_cut:
    input:
        reports=expand(rules.probe_cut.output.report, cut=PARAMS.probe.cuts),
        pictures=expand(rules.probe_cut.output.picture, cut=PARAMS.probe.cuts),
        code=code("selection"),
    output:
        selection=f"{PROBE}/selected_cut.json",
        table=f"{PROBE}/probe.csv",
        runtime=f"{PROBE}/probe_runtime.csv",
        grid=report(f"{PROBE}/grid.png", caption="../report/probe_grid.rst", category="Probe"),
    params:
        **sections("seed", "probe"),
    log:
        f"{LOGS}/select_cut.log",
    benchmark:
        f"{LOGS}/select_cut.benchmark.tsv"
    threads: 1
    resources:
        mem_mb=1000,
    script:
        "../scripts/select_cut.py"


rule probe:
    input:
        rules.select_cut.output.selection,
    localrule: True
