"""Features of a reference set's images."""

from pathlib import Path

import torch
from job import start

from fsr.benchmark.features import reference_features

params = start(snakemake)
torch.set_num_threads(snakemake.threads)
reference_features(params, Path(snakemake.input.manifest), Path(snakemake.output.features))
