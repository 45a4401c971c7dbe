"""Random fields that move every feature, and images of noise."""

from pathlib import Path

import torch
from tiny_models import tiny_model

from fsr.autoencoders import FrozenAutoencoder, weights_sha256
from fsr.flow.field import VectorField


def moving_field(autoencoder: FrozenAutoencoder, cut: str, scales: list[int], patch: int = 2) -> VectorField:
    """A random field that moves every feature, in coordinates that are not its features' own."""
    torch.manual_seed(1)
    channels, hash_ = autoencoder.decoder.cut(cut).channels, weights_sha256(autoencoder)
    field = VectorField(channels, cut, scales, hash_, hidden=16, blocks=1, block="residual", patch=patch, gate="scalar")
    torch.nn.init.normal_(field.out_velocity.weight, std=0.3)
    field.feature_mean.copy_(torch.linspace(-0.3, 0.31, channels))
    return field.eval()


def noise(height: int, width: int, seed: int = 0) -> torch.Tensor:
    """(1, 3, height, width) in [0, 1]."""
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


def save_models(folder: Path) -> Path:
    """`folder` with an autoencoder in `vae` and a field of its, for scales 2 and 4, in `model`."""
    tiny_model().save_pretrained(folder / "vae")
    moving_field(FrozenAutoencoder(tiny_model()), "f4", [2, 4]).save_pretrained(folder / "model")
    return folder
