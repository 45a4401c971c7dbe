"""Rivals: what fsr is compared with, trained as it is: same crops, order and seed, as many steps or as much time."""


rule train_rival:
    input:
        search=lambda wildcards: expand(
            rules.search_rate.output.search, method={TRAINED[wildcards.model].method}.intersection(OTHERS)
        ),
        # Times differ from run to run: timing again trains nothing again by itself. Snakemake does not look for what else has
        # changed in a job behind an ancient file that is made anew: all that may change here must trigger another input too.
        costs=lambda wildcards: (
            ancient(rules.time_steps.output.costs) if TRAINED[wildcards.model].budget == "time" else []
        ),
        field=rules.train_field.output.runtime,
        cut=rules.train_field.output.cut,
        latents=rules.encode.output.manifest,
        autoencoder=autoencoder_files(),
        code=code("rivals.training", "autoencoders"),
    output:
        weights=f"{RIVALS}/{{model}}/model/diffusion_pytorch_model.safetensors",
        config=f"{RIVALS}/{{model}}/model/config.json",
        log=f"{RIVALS}/{{model}}/log.csv",
        grid=report(f"{RIVALS}/{{model}}/validation.png", caption="../report/validation.rst", category="Training"),
        runtime=f"{RIVALS}/{{model}}/runtime.json",
        provenance=f"{RIVALS}/{{model}}/provenance.json",
    log:
        f"{LOGS}/train_rival/{{model}}.log",
    benchmark:
        f"{LOGS}/train_rival/{{model}}.benchmark.tsv"
    conda:
        "../envs/fsr.yaml"
    threads: PARAMS.runtime.threads
    resources:
        mem_mb=memory(4000, GPUS),
        gpu=GPUS,
    params:
        **sections("seed", "scales", "runtime", "vae"),
        train=lambda wildcards: (SHARED_TRAIN if TRAINED[wildcards.model].method in OTHERS else config["train"]),
        method=lambda wildcards: METHODS.get(TRAINED[wildcards.model].method),
        work=".cache/rivals",
    script:
        "../scripts/train_rival.py"


# What was trained, also where that is nothing.
rule list_rivals:
    input:
        weights=expand(rules.train_rival.output.weights, model=TRAINED),
        searches=expand(rules.search_rate.output.search, method=SEARCHED),
    output:
        models=f"{RIVALS}/models.json",
        provenance=f"{RIVALS}/models.provenance.json",
    log:
        f"{LOGS}/list_rivals.log",
    benchmark:
        f"{LOGS}/list_rivals.benchmark.tsv"
    conda:
        "../envs/fsr.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
    params:
        models=list(TRAINED),
    script:
        "../scripts/list_rivals.py"


rule rivals:
    input:
        rules.list_rivals.output.models,
    localrule: True
