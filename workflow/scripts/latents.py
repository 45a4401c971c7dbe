"""Encode one shard of the training crops."""

from pathlib import Path

import torch
from job import start

from fsr.autoencoders import load_autoencoder
from fsr.latents import Sources, encode_shard

params = start(snakemake)
torch.set_num_threads(snakemake.threads)
encode_shard(
    params,
    Sources(*([Path(file) for file in snakemake.input[split]] for split in ("train", "validation"))),
    load_autoencoder(params.vae, params.runtime.device, params.data.mirror),
    int(snakemake.wildcards.shard),
    Path(snakemake.output.note),
)
