"""Put one checked image set into data/raw."""

from pathlib import Path

from job import start

from fsr.datasets import lookup, read_registry
from fsr.sources import obtain

params = start(snakemake)
dataset = lookup(read_registry(snakemake.input.registry), snakemake.wildcards.set, params.data.folders)
obtain(dataset, Path(snakemake.output.manifest), params.data, Path(snakemake.params.work))
