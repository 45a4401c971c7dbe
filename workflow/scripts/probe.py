"""Probe one cut."""

from pathlib import Path

from job import start

from fsr.autoencoders import load_autoencoder
from fsr.probe import probe_cut

params = start(snakemake)
probe_cut(
    params,
    snakemake.wildcards.cut,
    Path(snakemake.input.latents),
    load_autoencoder(params.vae, params.runtime.device, params.data.mirror),
    Path(snakemake.output.report),
    Path(snakemake.output.picture),
    snakemake.threads,
)
