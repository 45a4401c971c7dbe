"""Measure every row on one share of a test set."""

from pathlib import Path

import torch
from job import start
from rows import load_rows

from fsr.benchmark import RowFiles, benchmark_rows

params = start(snakemake)
torch.set_num_threads(snakemake.threads)
autoencoder, field, rivals = load_rows(snakemake, params)
benchmark_rows(
    params,
    Path(snakemake.input.manifest),
    int(snakemake.wildcards.scale),
    int(snakemake.wildcards.shard),
    autoencoder,
    field,
    RowFiles(*map(Path, snakemake.output)),
    rivals,
    paired=not snakemake.wildcards.mode,
)
