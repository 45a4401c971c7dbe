"""Ablation: what the defaults of train were decided by; on request (snakemake ablation), not part of the study."""

from fsr.variants import variants

ABLATION = f"{RESULTS}/ablation"
VARIANTS = [variant.name for variant in variants(PARAMS.ablation)]


rule time_variants:
    input:
        latents=rules.encode.output.manifest,
        autoencoder=autoencoder_files(),
        code=code("ablation", "autoencoders"),
    output:
        costs=f"{ABLATION}/costs.json",
        provenance=f"{ABLATION}/costs.provenance.json",
    log:
        f"{LOGS}/time_variants.log",
    benchmark:
        f"{LOGS}/time_variants.benchmark.tsv"
    conda:
        "../envs/fsr.yaml"
    threads: PARAMS.runtime.threads
    resources:
        mem_mb=memory(6000, GPUS),
        gpu=GPUS,
    params:
        **sections("seed", "scales", "runtime", "vae", "train", "ablation"),
        work=".cache/ablation",
    script:
        "../scripts/time_variants.py"


rule train_variant:
    input:
        costs=rules.time_variants.output.costs,
        latents=rules.encode.output.manifest,
        autoencoder=autoencoder_files(),
        code=code("ablation", "autoencoders"),
    output:
        result=f"{ABLATION}/runs/{{variant}}-seed{{seed}}.json",
        provenance=f"{ABLATION}/runs/{{variant}}-seed{{seed}}.provenance.json",
    log:
        f"{LOGS}/ablation/{{variant}}-seed{{seed}}.log",
    benchmark:
        f"{LOGS}/ablation/{{variant}}-seed{{seed}}.benchmark.tsv"
    conda:
        "../envs/fsr.yaml"
    threads: PARAMS.runtime.threads
    resources:
        mem_mb=memory(4000, GPUS),
        gpu=GPUS,
    params:
        **sections("scales", "runtime", "vae", "train", "ablation"),
        work=".cache/train",
    script:
        "../scripts/train_variant.py"


rule tabulate_variants:
    input:
        runs=expand(rules.train_variant.output.result, variant=VARIANTS, seed=PARAMS.ablation.seeds),
        code=code("ablation"),
    output:
        table=f"{ABLATION}/ablation.csv",
        sheet=f"{ABLATION}/ablation.md",
        provenance=f"{ABLATION}/ablation.provenance.json",
    log:
        f"{LOGS}/tabulate_variants.log",
    benchmark:
        f"{LOGS}/tabulate_variants.benchmark.tsv"
    conda:
        "../envs/fsr.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
    script:
        "../scripts/tabulate_variants.py"


rule ablation:
    input:
        rules.tabulate_variants.output.sheet,
    localrule: True
