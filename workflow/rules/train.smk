"""Train: the vector field at the selected cut."""

TRAIN = f"{RESULTS}/train"


rule train_field:
    input:
        selection=rules.select_cut.output.selection,
        latents=rules.encode.output.manifest,
        autoencoder=autoencoder_files(),
        code=code("train", "train.__main__", "autoencoders"),
    output:
        weights=f"{TRAIN}/model/diffusion_pytorch_model.safetensors",
        config=f"{TRAIN}/model/config.json",
        log=f"{TRAIN}/log.csv",
        grid=report(f"{TRAIN}/validation.png", caption="../report/validation.rst", category="Training"),
        runtime=f"{TRAIN}/runtime.json",
        cut=f"{TRAIN}/cut.json",
        provenance=f"{TRAIN}/provenance.json",
    log:
        f"{LOGS}/train_field.log",
    benchmark:
        f"{LOGS}/train_field.benchmark.tsv"
    conda:
        "../envs/fsr.yaml"
    threads: PARAMS.runtime.threads * PARAMS.train.processes
    resources:
        mem_mb=memory(4000 * PARAMS.train.processes, GPUS * PARAMS.train.processes),
        gpu=GPUS * PARAMS.train.processes,
    params:
        **sections("seed", "scales", "runtime", "vae", "train"),
        # Where the run resumes from: outside the outputs, which are deleted when a job fails.
        work=".cache/train",
    script:
        "../scripts/train.py"


rule train:
    input:
        rules.train_field.output.weights,
    localrule: True
