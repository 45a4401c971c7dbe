"""Choose the cut and write the probe's tables."""

from pathlib import Path

from job import start

from fsr.selection import SelectionFiles, write_selection

params = start(snakemake)
write_selection(
    [Path(file) for file in snakemake.input.reports],
    [Path(file) for file in snakemake.input.pictures],
    params.probe,
    params.seed,
    SelectionFiles(**{name: Path(file) for name, file in snakemake.output.items() if name != "provenance"}),
)
