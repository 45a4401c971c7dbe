"""Latents: the training crops, encoded once."""


rule encode:
    input:
        sets=expand(rules.dataset.output.manifest, set=PARAMS.data.train),
        autoencoder=autoencoder_files(),
        code=code("latents", "autoencoders"),
    output:
        manifest=f"data/latents/{PARAMS.experiment}/manifest.json",
    log:
        f"{LOGS}/encode.log",
    benchmark:
        f"{LOGS}/encode.benchmark.tsv"
    conda:
        "../envs/fsr.yaml"
    threads: PARAMS.runtime.threads
    resources:
        mem_mb=4000,
        gpu=GPUS,
    params:
        **sections("seed", "scale", "runtime", "vae", "latents"),
    script:
        "../scripts/latents.py"


rule latents:
    input:
        rules.encode.output.manifest,
    localrule: True
