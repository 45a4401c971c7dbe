"""Time a training step and an inference of every variant of the ablation."""

from pathlib import Path

from job import start

from fsr.ablation import time_variants
from fsr.autoencoders import load_autoencoder

params = start(snakemake)
autoencoder = load_autoencoder(params.vae, params.runtime.device, params.data.mirror)
latents, costs, work = Path(snakemake.input.latents), Path(snakemake.output.costs), Path(snakemake.params.work)
time_variants(params, latents, autoencoder, costs, snakemake.threads, work)
