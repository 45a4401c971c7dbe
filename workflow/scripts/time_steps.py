"""Time a training step of every method."""

from pathlib import Path

from job import start

from fsr.autoencoders import load_autoencoder
from fsr.files import read_json
from fsr.rivals.training import time_steps

params = start(snakemake)
time_steps(
    params,
    read_json(snakemake.input.cut)["cut"],
    manifest=Path(snakemake.input.latents),
    autoencoder=load_autoencoder(params.vae, params.runtime.device, params.data.mirror),
    output=Path(snakemake.output.costs),
    threads=snakemake.threads,
)
