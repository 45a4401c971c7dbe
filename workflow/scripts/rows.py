"""The rows of a study with their networks, as its rules' inputs have them."""

from pathlib import Path

from fsr.autoencoders import load_autoencoder
from fsr.flow.field import load_field
from fsr.upscalers import rival_upscalers


def load_rows(snakemake, params):
    """The autoencoder, the field, and the rows of methods of others."""
    autoencoder = load_autoencoder(params.vae, params.runtime.device, params.data.mirror)
    field = load_field(Path(snakemake.input.weights).parent, autoencoder)
    models = snakemake.params.models
    folders = {model: Path(file).parent for model, file in zip(models, snakemake.input.rivals, strict=True)}
    return autoencoder, field, rival_upscalers(params, folders, autoencoder)
