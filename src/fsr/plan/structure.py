"""An autoencoder's structure from its configuration alone."""

from pathlib import Path

import torch
from diffusers import ModelMixin
from torch import nn

from fsr.autoencoders.families import FAMILIES
from fsr.autoencoders.loading import check_class, place_of
from fsr.autoencoders.taef2 import DECODER_FILE, ENCODER_FILE, Taef2
from fsr.config import Vae
from fsr.precision import DTYPES


def model_from_config(vae: Vae) -> ModelMixin:
    """The model the `vae` section names, on the meta device: shapes and dtypes, no weights.

    Reads config.json at `vae.path`: in the package, in a local folder, or on the hub (with HF_HUB_OFFLINE=1, in its
    cache). TAEF2's public files have one structure and need none.

    Raises:
        FileNotFoundError: nothing there, or the hub is out of reach; says what to do.
        ValueError: it is of another class than `vae.class`.
    """
    with torch.device("meta"):
        return nn.Module.to(_structure(vae), DTYPES[vae.dtype])


def _structure(vae: Vae) -> ModelMixin:
    if vae.family == "TAEF2" and _is_public(vae):
        return Taef2()
    model_class = FAMILIES[vae.family].model
    path, place = place_of(vae)
    check_class(vae, path, place)
    return model_class.from_config(model_class.load_config(path, **place))


def _is_public(vae: Vae) -> bool:
    folder = Path(vae.path, vae.subfolder or "")
    return vae.path == "public" or any((folder / name).is_file() for name in (ENCODER_FILE, DECODER_FILE))
