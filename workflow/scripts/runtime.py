"""What every row takes on this machine."""

from pathlib import Path

from job import start
from rows import load_rows

from fsr.benchmark.runtime import measure_runtime

params = start(snakemake)
autoencoder, field, rivals = load_rows(snakemake, params)
measure_runtime(params, autoencoder, field, rivals, Path(snakemake.output.table), snakemake.threads)
