"""Write the manifest of the latent cache."""

from pathlib import Path

from job import start

from fsr.latents import join_shards

start(snakemake)
join_shards([Path(file) for file in snakemake.input.notes], Path(snakemake.output.manifest))
