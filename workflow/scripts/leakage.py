"""Search the training images for what test images show."""

from pathlib import Path

from job import start

from fsr.datasets import manifest_files
from fsr.leakage import search_leakage

params = start(snakemake)


def images(names):
    return {name: manifest_files(f"data/raw/{name}/manifest.json") for name in names}


search_leakage(
    images(params.data.learning),
    images(params.data.test),
    report=Path(snakemake.output.report),
    picture=Path(snakemake.output.picture),
    threads=snakemake.threads,
)
