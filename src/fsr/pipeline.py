"""For those who use a trained field: images or latents in, images larger by exactly its scale out."""

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from fsr.autoencoders import FrozenAutoencoder, weights_sha256
from fsr.files import sha256_of
from fsr.flow.field import VectorField
from fsr.tiling import Renderer, Tiling


@dataclass(frozen=True)
class ImagePipeline:
    """The reported method on whole images of any size, at one of the field's scales.

    Attributes:
        tiling: how much of an image is computed at once.

    Raises:
        ValueError: the field was not trained for `scale`.
    """

    autoencoder: FrozenAutoencoder
    field: VectorField
    scale: int
    tiling: Tiling = Tiling()  # noqa: RUF009 - frozen

    def __post_init__(self) -> None:
        scales = list(self.field.config.scales)
        if self.scale not in scales:
            known = ", ".join(map(str, scales))
            raise ValueError(
                f"scale {self.scale} is not one this field was trained for; choose one of {known}, or give a field "
                "that was trained for it"
            )

    @property
    def multiple(self) -> int:
        """What the sides of an image must be multiples of for the autoencoder and the field's patches."""
        factor, patch = self.autoencoder.factor, self.field.config.patch
        side = self.scale * factor // self.autoencoder.decoder.cut(self.field.config.cut).stride
        return factor * (patch // math.gcd(patch, side))

    @cached_property
    def renderer(self) -> Renderer:
        """What computes, in tiles."""
        return Renderer(self.autoencoder, self.field)

    @cached_property
    def identity(self) -> str:
        """SHA-256 of all that decides the pixels but the input and the scale: both networks, in their precision."""
        digest = hashlib.sha256()
        for name, value in sorted(self.field.state_dict().items()):
            digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        structure = {name: value for name, value in self.field.config.items() if not name.startswith("_")}
        return sha256_of(structure, digest.hexdigest(), weights_sha256(self.autoencoder))

    @torch.inference_mode()
    def __call__(self, x_L: Tensor) -> Tensor:
        """(1, 3, scale h, scale w), not clamped, of x_L (1, 3, h, w) in [0, 1].

        Where sides are not multiples of `multiple`, x_L is continued beyond its right and lower border by reflection,
        and what comes of that is cut off.

        Raises:
            ValueError: the result is not finite.
        """
        height, width = x_L.shape[-2:]
        images = reflected(x_L, self.multiple).to(self.autoencoder.device)
        z_L = self.renderer.encode(images, self.tiling)
        return self._upscaled(z_L, self.scale * height, self.scale * width)

    @torch.inference_mode()
    def decode(self, z_L: Tensor) -> Tensor:
        """(B, 3, scale H, scale W), not clamped, of scaled latents (B, C, h, w) of images of H x W pixels.

        Raises:
            ValueError: they have another number of channels, or they or the result are not finite.
        """
        channels, factor = self.autoencoder.latent_channels, self.autoencoder.factor
        if z_L.ndim != 4 or z_L.shape[1] != channels:
            raise ValueError(
                f"latents of shape {tuple(z_L.shape)} are not this autoencoder's, (B, {channels}, h, w); give those "
                "of the autoencoder the field was trained for"
            )
        if not _finite(z_L):
            raise ValueError("latents are not all finite; generate them again, in bfloat16 or float32")
        height, width = (self.scale * factor * side for side in z_L.shape[-2:])
        latents = reflected(z_L.float(), self.multiple // factor).to(self.autoencoder.device)
        return self._upscaled(latents, height, width)

    def _upscaled(self, z_L: Tensor, height: int, width: int) -> Tensor:
        image = self.renderer.upscale(z_L, self.scale, self.tiling)[..., :height, :width]
        if not _finite(image):
            raise ValueError("the result is not finite; compute in float32 or bfloat16 (--dtype)")
        return image


def reflected(images: Tensor, multiple: int) -> Tensor:
    """Images continued to the right and below by reflection, up to sides that are multiples of `multiple`.

    Sides may be shorter than what is added: the reflection is then reflected again.
    """
    below, right = (-side % multiple for side in images.shape[-2:])
    return torch.from_numpy(np.pad(images.numpy(force=True), ((0, 0), (0, 0), (0, below), (0, right)), "reflect"))


def _finite(values: Tensor) -> bool:
    return all(bool(value.isfinite()) for value in values.aminmax())
