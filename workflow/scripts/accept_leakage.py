"""Go on to training, or not, after the search for leakage."""

from pathlib import Path

from job import start

from fsr.leakage import accept_leakage

params = start(snakemake)
accept_leakage(Path(snakemake.input.report), Path(snakemake.output.accepted), params.data.leakage)
