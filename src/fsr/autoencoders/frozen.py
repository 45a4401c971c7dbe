"""A frozen autoencoder whose decoder is split at named cuts.

The only place that knows the pixel range [-1, 1], `scaling_factor` and `shift_factor`: outside, images are in [0, 1]
and latents are `scaling_factor * (mean - shift_factor)`.
"""

import hashlib
from collections.abc import Callable, Sequence

import torch
from diffusers import ModelMixin
from torch import Tensor, nn

from fsr.autoencoders.families import family_of
from fsr.autoencoders.tiles import run_in_tiles


class FrozenAutoencoder(nn.Module):
    """Encoder, head and tail of an autoencoder; its parameters take no gradient and stay in eval mode.

    For images (B, 3, H, W), H and W multiples of `factor`, latents are (B, `latent_channels`, H/factor, W/factor); the
    features of a cut are as `feature_shape` says.

    Args:
        tile: images with a longer side are encoded and decoded in overlapping tiles of this many pixels, which takes
            less memory and is not exactly the same; None for whole images. Heads and tails are always whole.

    Raises:
        ValueError: not a family FSR can split.
    """

    def __init__(self, model: ModelMixin, tile: int | None = None) -> None:
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        self._family = family_of(model)
        self.decoder = self._family.split(model)
        self.encoder = self._family.encoder(model)
        self.factor = self.decoder.cut("f1").stride
        self.tile = tile
        self.latent_channels: int = model.config.latent_channels
        self._scale = float(model.config.get("scaling_factor") or 1.0)
        self._shift = float(model.config.get("shift_factor") or 0.0)

    def train(self, mode: bool = True) -> "FrozenAutoencoder":
        """Stays in eval mode whatever `mode` is: it is frozen."""
        return super().train(False)

    @property
    def cuts(self) -> tuple[str, ...]:
        return self.decoder.cuts

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @staticmethod
    def normalise(images: Tensor) -> Tensor:
        """[0, 1] to the autoencoder's own [-1, 1], the range the objective's and the probe's pixel terms are in."""
        return images * 2 - 1

    def encode(self, images: Tensor) -> Tensor:
        """Scaled latents of images in [0, 1]: the mean of the posterior, never a sample.

        Raises:
            ValueError: sides are not multiples of `factor`.
        """
        self.check_sides(images)
        normalised = self.normalise(images).to(self.model.dtype)
        latents = run_in_tiles(lambda x: self._family.encode(self.model, x), normalised, self.tile, 1, self.factor)
        return self.scaled(latents)

    def check_sides(self, images: Tensor) -> None:
        """Pass if images can be encoded.

        Raises:
            ValueError: their sides are not multiples of `factor`.
        """
        height, width = images.shape[-2:]
        if height % self.factor or width % self.factor:
            raise ValueError(
                f"an image of {width}x{height} must be cropped to multiples of {self.factor} to be encoded"
            )

    def decode(self, latents: Tensor) -> Tensor:
        """Images in [0, 1] (not clamped) of scaled latents: head and tail at once."""
        tile = None if self.tile is None else self.tile // self.factor
        return self.images(run_in_tiles(self.decoder.run, self.raw(latents), tile, self.factor, 1))

    def encode_all(self, images: Sequence[Tensor], batch: int) -> list[Tensor]:
        """`encode` of images (1, 3, H, W) of whatever sizes, in their order; up to `batch` of one size at once."""
        return _batched(self.encode, images, batch)

    def decode_all(self, latents: Sequence[Tensor], batch: int) -> list[Tensor]:
        """`decode` of latents (1, C, h, w) of whatever sizes, in their order; up to `batch` of one size at once."""
        return _batched(self.decode, latents, batch)

    def head(self, latents: Tensor, cut: str) -> Tensor:
        """Features at `cut` of scaled latents.

        Raises:
            ValueError: no such cut.
        """
        return self.decoder.run(self.raw(latents), stop=self.decoder.position(cut))

    def tail(self, features: Tensor, cut: str) -> Tensor:
        """Images in [0, 1] (not clamped) of features at `cut`.

        Raises:
            ValueError: no such cut.
        """
        return self.images(self.decoder.run(self._no_wider(features), start=self.decoder.position(cut)))

    def feature_shape(self, cut: str, height: int, width: int) -> tuple[int, int, int]:
        """(channels, H, W) of the features at `cut` for an image of `height` x `width` pixels.

        Raises:
            ValueError: no such cut.
        """
        place = self.decoder.cut(cut)
        return place.channels, height // place.stride, width // place.stride

    def raw(self, latents: Tensor) -> Tensor:
        """Latents as the model itself has them, of scaled ones."""
        return (latents.float() / self._scale + self._shift).to(self.model.dtype)

    def scaled(self, raw: Tensor) -> Tensor:
        """Scaled latents, as they are everywhere outside, of the model's own."""
        return (raw - self._shift) * self._scale

    def _no_wider(self, features: Tensor) -> Tensor:
        """Float32 features in the dtype of the weights; narrower ones are autocast's."""
        return features.to(self.model.dtype) if features.dtype == torch.float32 else features

    @staticmethod
    def images(decoded: Tensor) -> Tensor:
        """The model's own [-1, 1] to [0, 1], float32, not clamped."""
        return decoded.float() * 0.5 + 0.5


def _batched(run: Callable[[Tensor], Tensor], items: Sequence[Tensor], batch: int) -> list[Tensor]:
    by_shape: dict[torch.Size, list[int]] = {}
    for index, item in enumerate(items):
        by_shape.setdefault(item.shape, []).append(index)
    results: dict[int, Tensor] = {}
    for indices in by_shape.values():
        for start in range(0, len(indices), batch):
            part = indices[start : start + batch]
            results |= zip(part, run(torch.cat([items[i] for i in part])).split(1), strict=True)
    return [results[index] for index in range(len(items))]


def weights_sha256(autoencoder: FrozenAutoencoder) -> str:
    """SHA-256 of the model's weights and of how its latents are scaled, whatever file they came from."""
    digest = hashlib.sha256()
    for name, value in sorted(autoencoder.model.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    digest.update(f"{autoencoder._scale} {autoencoder._shift}".encode())
    return digest.hexdigest()
