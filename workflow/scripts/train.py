"""Train the vector field at the selected cut, or at the one train.cut names."""

from pathlib import Path

from job import start

from fsr.autoencoders import load_autoencoder
from fsr.files import read_json
from fsr.train import TrainFiles, TrainJob, launch, train_field

params, output = start(snakemake), {name: Path(file) for name, file in snakemake.output.items()}
named = params.train.cut != "best"
kept = {name: output[name] for name in ("log", "grid", "runtime", "cut")}
files = TrainFiles(model=output["weights"].parent, work=Path(snakemake.params.work), **kept)
job = TrainJob(
    params,
    candidates=[params.train.cut] if named else read_json(snakemake.input.selection)["candidates"],
    decided_by="params" if named else "probe",
    manifest=Path(snakemake.input.latents),
    files=files,
    threads=max(1, snakemake.threads // params.train.processes),
)
if params.train.processes > 1:
    launch(job)
else:
    train_field(job, load_autoencoder(params.vae, params.runtime.device, params.data.mirror))
