"""Measure one shard of the rows on one test set."""

from pathlib import Path

import torch
from job import start

from fsr.autoencoders import load_autoencoder
from fsr.benchmark import RowFiles, benchmark_rows
from fsr.flow.field import load_field

params = start(snakemake)
torch.set_num_threads(snakemake.threads)
autoencoder = load_autoencoder(params.vae, params.runtime.device, params.data.mirror)
benchmark_rows(
    params,
    Path(snakemake.input.manifest),
    int(snakemake.wildcards.scale),
    int(snakemake.wildcards.shard),
    autoencoder,
    load_field(Path(snakemake.input.weights).parent, autoencoder),
    RowFiles(*map(Path, snakemake.output)),
)
