"""Run times: what every row takes on this machine."""


rule measure_runtime:
    input:
        weights=rules.train_field.output.weights,
        field=rules.train_field.output.config,
        rivals=expand(rules.train_rival.output.weights, model=TRAINED),
        rival_configs=expand(rules.train_rival.output.config, model=TRAINED),
        rival_files=RIVAL_FILES,
        autoencoder=autoencoder_files(),
        code=code("benchmark.runtime", "autoencoders"),
    output:
        table=f"{BENCHMARK}/runtime.csv",
        provenance=f"{BENCHMARK}/runtime.provenance.json",
    log:
        f"{LOGS}/measure_runtime.log",
    benchmark:
        f"{LOGS}/measure_runtime.benchmark.tsv"
    conda:
        "../envs/fsr.yaml"
    threads: PARAMS.runtime.threads
    resources:
        mem_mb=memory(8000, GPUS),
        gpu=GPUS,
    params:
        **sections("seed", "scales", "runtime", "vae"),
        rivals=METHODS,
        sizes=config["benchmark"]["runtime"],
        upscalers=PARAMS.benchmark.upscalers,
        dtype=PARAMS.benchmark.dtype,
        models=list(TRAINED),
    script:
        "../scripts/runtime.py"
