"""Latents: the training crops, encoded once."""

CACHE = f"data/latents/{access(PARAMS.data.learning)}/{PARAMS.experiment}"
SHARDS = PARAMS.latents.shards


# Behind an ancient file that is made anew, Snakemake does not look for what else has changed: all of it goes through here.
rule define_crops:
    input:
        autoencoder=autoencoder_files(),
        code=code("latents", "autoencoders"),
    output:
        definition=f"{CACHE}/definition.json",
    log:
        f"{LOGS}/define_crops.log",
    benchmark:
        f"{LOGS}/define_crops.benchmark.tsv"
    conda:
        "../envs/fsr.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
    params:
        **sections("seed", "scales", "runtime", "vae"),
        # The bytes do not depend on how many jobs make them.
        latents={key: value for key, value in config["latents"].items() if key != "shards"},
    script:
        "../scripts/define_crops.py"


rule encode_shard:
    input:
        train=raw(PARAMS.data.train),
        validation=raw(PARAMS.data.validation),
        definition=rules.define_crops.output.definition,
        # Nothing is learned from images that leak; a new test set does not encode, or train, again.
        leakage=ancient(rules.accept_leakage.output.accepted),
        autoencoder=autoencoder_files(),
        code=code("latents", "autoencoders"),
    output:
        note=temp(f"{CACHE}/shards/{{shard}}-of-{{shards}}.json"),
    log:
        f"{LOGS}/encode_shard/{{shard}}-of-{{shards}}.log",
    benchmark:
        f"{LOGS}/encode_shard/{{shard}}-of-{{shards}}.benchmark.tsv"
    conda:
        "../envs/fsr.yaml"
    threads: PARAMS.runtime.threads
    resources:
        mem_mb=memory(4000, GPUS),
        gpu=GPUS,
    params:
        **sections("seed", "scales", "runtime", "vae", "latents"),
    script:
        "../scripts/latents.py"


rule encode:
    input:
        notes=expand(rules.encode_shard.output.note, shard=range(SHARDS), shards=SHARDS),
        # What a shard depends on: its note is gone when the manifest stands, so changes are seen here.
        shard=rules.encode_shard.input,
    output:
        manifest=f"{CACHE}/manifest.json",
        provenance=f"{CACHE}/provenance.json",
    log:
        f"{LOGS}/encode.log",
    benchmark:
        f"{LOGS}/encode.benchmark.tsv"
    conda:
        "../envs/fsr.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
    params:
        **sections("seed", "scales", "runtime", "vae", "latents"),
    script:
        "../scripts/join_shards.py"


rule latents:
    input:
        rules.encode.output.manifest,
    localrule: True
