"""Train one variant of the ablation with one seed."""

from pathlib import Path

from job import start

from fsr.ablation import train_variant
from fsr.autoencoders import load_autoencoder

params = start(snakemake)
train_variant(
    params,
    snakemake.wildcards.variant,
    int(snakemake.wildcards.seed),
    costs=Path(snakemake.input.costs),
    manifest=Path(snakemake.input.latents),
    autoencoder=load_autoencoder(params.vae, params.runtime.device, params.data.mirror),
    output=Path(snakemake.output.result),
    threads=snakemake.threads,
    work=Path(snakemake.params.work),
)
