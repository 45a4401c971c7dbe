"""Search the learning rate of one method."""

from pathlib import Path

from job import start

from fsr.autoencoders import load_autoencoder
from fsr.files import read_json
from fsr.rivals.training import search_rate

params = start(snakemake)
search_rate(
    params,
    snakemake.wildcards.method,
    read_json(snakemake.input.cut)["cut"],
    manifest=Path(snakemake.input.latents),
    autoencoder=load_autoencoder(params.vae, params.runtime.device, params.data.mirror),
    output=Path(snakemake.output.search),
    threads=snakemake.threads,
    work=Path(snakemake.params.work),
)
