"""Probe: one job a cut, then the best cut."""

PROBE = f"{RESULTS}/probe"


rule probe_cut:
    input:
        latents=rules.encode.output.manifest,
        autoencoder=autoencoder_files(),
        code=code("probe", "autoencoders"),
    output:
        report=f"{PROBE}/{{cut}}.json",
        picture=f"{PROBE}/{{cut}}.png",
        provenance=f"{PROBE}/{{cut}}.provenance.json",
    log:
        f"{LOGS}/probe/{{cut}}.log",
    benchmark:
        f"{LOGS}/probe/{{cut}}.benchmark.tsv"
    conda:
        "../envs/fsr.yaml"
    threads: PARAMS.runtime.threads
    resources:
        mem_mb=memory(4000, GPUS),
        gpu=GPUS,
    params:
        **sections("seed", "scales", "runtime", "vae"),
        crops=PARAMS.probe.crops,
        field=config["train"]["field"],
    script:
        "../scripts/probe.py"


rule select_cut:
    input:
        reports=expand(rules.probe_cut.output.report, cut=PARAMS.probe.cuts),
        pictures=expand(rules.probe_cut.output.picture, cut=PARAMS.probe.cuts),
        latents=rules.encode.output.manifest,
        code=code("selection"),
    output:
        selection=f"{PROBE}/selected_cut.json",
        table=f"{PROBE}/probe.csv",
        runtime=f"{PROBE}/probe_runtime.csv",
        grid=report(f"{PROBE}/grid.png", caption="../report/probe_grid.rst", category="Probe"),
        provenance=f"{PROBE}/selected_cut.provenance.json",
    log:
        f"{LOGS}/select_cut.log",
    benchmark:
        f"{LOGS}/select_cut.benchmark.tsv"
    conda:
        "../envs/fsr.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
    params:
        **sections("seed", "probe"),
    script:
        "../scripts/select_cut.py"


rule probe:
    input:
        rules.select_cut.output.selection,
    localrule: True
