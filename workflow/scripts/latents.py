"""Encode the training crops."""

from pathlib import Path

import torch
from job import start

from fsr.autoencoders import load_autoencoder
from fsr.latents import build_cache

params = start(snakemake)
torch.set_num_threads(snakemake.threads)
build_cache(
    params.latents,
    [Path(file) for file in snakemake.input.sets],
    load_autoencoder(params.vae, params.runtime.device),
    Path(snakemake.output.manifest),
    scale=params.scale,
    seed=params.seed,
    autocast=params.runtime.dtype,
)
