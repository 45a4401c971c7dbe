"""Budgets: the learning rate each method trains at, and how many steps take as long as the field's."""

from fsr.config.rows import FIELD_ONLY, FSR, rival_rows, searched_methods, trained_rows

RIVALS = f"{RESULTS}/rivals"
TRAINED = {row.model: row for row in trained_rows(PARAMS)}
OTHERS = searched_methods(PARAMS)
SEARCHED = [FSR, *OTHERS] if OTHERS else []
# Weights that others trained, of the rows that are measured.
PRETRAINED = [rival_rows(PARAMS.rivals).get(name) for name in PARAMS.benchmark.upscalers]
RIVAL_FILES = sorted({PARAMS.rivals.methods[row.method].weights for row in PRETRAINED if row and not row.budget})

# A field is trained by all of train, at its learning rate; a method of others by what both have in common.
SHARED_TRAIN = {key: value for key, value in config["train"].items() if key not in FIELD_ONLY}
METHODS = config["rivals"]["methods"]


rule search_rate:
    input:
        latents=rules.encode.output.manifest,
        cut=rules.train_field.output.cut,
        autoencoder=autoencoder_files(),
        code=code("rivals.training", "autoencoders"),
    output:
        search=f"{RIVALS}/{{method}}/search.json",
        provenance=f"{RIVALS}/{{method}}/search.provenance.json",
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
        **sections("seed", "scales", "runtime", "vae"),
        train=lambda wildcards: config["train"] if wildcards.method == FSR else SHARED_TRAIN,
        method=lambda wildcards: METHODS.get(wildcards.method),
        rates=PARAMS.rivals.learning_rates,
        steps=PARAMS.rivals.search_steps,
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
        provenance=f"{RIVALS}/step_seconds.provenance.json",
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
        **sections("seed", "scales", "runtime", "vae", "train"),
        methods=METHODS,
    script:
        "../scripts/time_steps.py"
