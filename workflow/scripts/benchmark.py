"""Measure every row on one test set."""

from pathlib import Path

from job import start

from fsr.autoencoders import load_autoencoder
from fsr.benchmark import benchmark_set
from fsr.flow.field import load_field

params = start(snakemake)
autoencoder = load_autoencoder(params.vae, params.runtime.device, params.data.mirror)
benchmark_set(
    params,
    Path(snakemake.input.manifest),
    autoencoder,
    load_field(Path(snakemake.input.weights).parent, autoencoder),
    Path(snakemake.output.table),
    Path(snakemake.output.images).parent,
    snakemake.threads,
)
