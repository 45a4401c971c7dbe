"""Distances between the distributions of every row's images and of the reference sets."""

from pathlib import Path

from job import start

from fsr.benchmark.distribution import RowFeatures, tabulate_distributions

params, given = start(snakemake), snakemake.input
rows = [
    RowFeatures(scale, name, "base_only" if base_only else "paired", Path(folder))
    for (scale, name, base_only), folder in zip(snakemake.params.sets, given.rows, strict=True)
]
references = {Path(file).stem: Path(file) for file in given.references}
tabulate_distributions(params, rows, references, Path(snakemake.output.table))
