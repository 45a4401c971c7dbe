"""Rivals: methods of others, trained as the field is: same crops, order and seed, as many steps or as much time."""

from fsr.config.rows import rival_rows, trained_methods, trained_rows

RIVALS = f"{RESULTS}/rivals"
TRAINED = {row.model: row for row in trained_rows(PARAMS)}
SEARCHED = ["fsr", *trained_methods(PARAMS)] if TRAINED else []
# Weights that others trained, of the rows that are measured.
PRETRAINED = [rival_rows(PARAMS.rivals).get(name) for name in PARAMS.benchmark.upscalers]
RIVAL_FILES = sorted({PARAMS.rivals.methods[row.method].weights for row in PRETRAINED if row and not row.budget})


rule search_rate:
    input:
        latents=rules.encode.output.manifest,
        cut=rules.train_field.output.cut,
        autoencoder=autoencoder_files(),
        code=code("rivals.training", "autoencoders"),
    output:
        search=f"{RIVALS}/{{method}}/search.json",
    log:
        f"{LOGS}/search_rate/{{method}}.log",
    benchmark:
        f"{LOGS}/search_rate/{{method}}.benchmark.tsv"
    conda:
        "../envs/fsr.yaml"
    threads: PARAMS.runtime.threads
    resources:
        mem_mb=memory(4000, GPUS),
        gpu=GPUS,
    params:
        **sections("seed", "scales", "runtime", "vae", "train", "rivals"),
        work=".cache/rivals",
    script:
        "../scripts/search_rate.py"


rule time_steps:
    input:
        latents=rules.encode.output.manifest,
        cut=rules.train_field.output.cut,
        autoencoder=autoencoder_files(),
        code=code("rivals.training", "autoencoders"),
    output:
        costs=f"{RIVALS}/step_seconds.json",
    log:
        f"{LOGS}/time_steps.log",
    benchmark:
        f"{LOGS}/time_steps.benchmark.tsv"
    conda:
        "../envs/fsr.yaml"
    threads: PARAMS.runtime.threads
    resources:
        mem_mb=memory(6000, GPUS),
        gpu=GPUS,
    params:
        **sections("seed", "scales", "runtime", "vae", "train", "rivals"),
        work=".cache/rivals",
    script:
        "../scripts/time_steps.py"


rule train_rival:
    input:
        search=lambda wildcards: expand(rules.search_rate.output.search, method=TRAINED[wildcards.model].method)[0],
        # Times differ from run to run: what was trained for them stays.
        costs=lambda wildcards: (
            ancient(rules.time_steps.output.costs) if TRAINED[wildcards.model].budget == "time" else []
        ),
        field=ancient(rules.train_field.output.runtime),
        latents=rules.encode.output.manifest,
        autoencoder=autoencoder_files(),
        code=code("rivals.training", "autoencoders"),
    output:
        weights=f"{RIVALS}/{{model}}/model/diffusion_pytorch_model.safetensors",
        config=f"{RIVALS}/{{model}}/model/config.json",
        log=f"{RIVALS}/{{model}}/log.csv",
        grid=report(f"{RIVALS}/{{model}}/validation.png", caption="../report/validation.rst", category="Training"),
        runtime=f"{RIVALS}/{{model}}/runtime.json",
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
        **sections("seed", "scales", "runtime", "vae", "train", "rivals", "tracking"),
        work=".cache/rivals",
    script:
        "../scripts/train_rival.py"


rule rivals:
    input:
        expand(rules.train_rival.output.weights, model=TRAINED),
        expand(rules.search_rate.output.search, method=SEARCHED),
    localrule: True
