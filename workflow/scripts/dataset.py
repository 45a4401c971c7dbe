"""Copy one verified image set into data/raw."""

from job import start

from fsr.datasets import lookup, materialise, read_registry

params = start(snakemake)
dataset = lookup(read_registry(snakemake.input.registry), snakemake.wildcards.set)
materialise(dataset, snakemake.output.manifest, params.data.folders.get(dataset.name), params.data.mirror)
