"""Search the training images for what test images show."""

from pathlib import Path

from job import start

from fsr.datasets import manifest_files
from fsr.leakage import search_leakage

params = start(snakemake)
learning, test = (
    {Path(file).parent.name: manifest_files(file) for file in files}
    for files in (snakemake.input.learning, snakemake.input.test)
)
search_leakage(
    learning,
    test,
    report=Path(snakemake.output.report),
    picture=Path(snakemake.output.picture),
    threads=snakemake.threads,
)
