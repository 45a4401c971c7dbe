"""The table of the ablation."""

from pathlib import Path

from job import start

from fsr.ablation import tabulate

start(snakemake)
runs = [Path(run) for run in snakemake.input.runs]
tabulate(runs, Path(snakemake.output.table), Path(snakemake.output.sheet))
