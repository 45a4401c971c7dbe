"""Train the vector field at the selected cut, or at the one train.cut names."""

from pathlib import Path

from job import start

from fsr.autoencoders import load_autoencoder
from fsr.files import read_json
from fsr.train import TrainFiles, train_field

params = start(snakemake)
cut = read_json(snakemake.input.selection)["cut"] if params.train.cut == "best" else params.train.cut
files = TrainFiles(
    model=Path(snakemake.output.weights).parent,
    work=Path(snakemake.params.work),
    **{name: Path(snakemake.output[name]) for name in ("log", "grid", "runtime")},
)
autoencoder = load_autoencoder(params.vae, params.runtime.device, params.data.mirror)
train_field(params, cut, Path(snakemake.input.latents), autoencoder, files, snakemake.threads)
