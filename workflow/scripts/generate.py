"""Generate one image set into data/raw."""

from pathlib import Path

from job import start

from fsr.datasets import lookup, read_registry
from fsr.sources import generate

params = start(snakemake)
dataset = lookup(read_registry(snakemake.input.registry), snakemake.wildcards.set)
generate(dataset, params, Path(snakemake.output.manifest), Path(snakemake.params.work))
