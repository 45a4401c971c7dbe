"""Train one rival for its budget."""

from pathlib import Path

from job import start

from fsr.autoencoders import load_autoencoder
from fsr.files import read_json
from fsr.rivals.training import steps_of, train_rival
from fsr.train import RunFiles

params, model = start(snakemake), snakemake.wildcards.model
output = {name: Path(file) for name, file in snakemake.output.items()}
costs = [Path(file) for file in [snakemake.input.costs] if file]
train_rival(
    params,
    model,
    steps_of(params, model, read_json(snakemake.input.field)["steps"], *costs),
    cut=read_json(snakemake.input.cut)["cut"],
    search=next(map(Path, snakemake.input.search), None),  # a list of one, or of none
    manifest=Path(snakemake.input.latents),
    autoencoder=load_autoencoder(params.vae, params.runtime.device, params.data.mirror),
    files=RunFiles(output["weights"].parent, output["log"], output["grid"], output["runtime"]),
    threads=snakemake.threads,
    work=Path(snakemake.params.work),
)
