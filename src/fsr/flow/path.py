"""The bridge from bicubic to high-resolution features, in normalised coordinates. Shapes are (B, C, H, W)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fsr.autoencoders import FrozenAutoencoder
from fsr.images import enlarge_features


@dataclass(frozen=True)
class FeaturePair:
    """Features at a cut: f_B enlarged from low resolution, f_H of high resolution, where it is wanted; same shape."""

    f_B: Tensor
    f_H: Tensor | None


@dataclass(frozen=True)
class PathSample:
    """A point f_t of the bridge at time t (B,), and the velocity to learn there."""

    f_t: Tensor
    t: Tensor
    target: Tensor


def enlarged_feature(autoencoder: FrozenAutoencoder, z_L: Tensor, cut: str, size: tuple[int, int]) -> Tensor:
    """f_B: the low-resolution feature of the head at `cut`, bicubically enlarged to `size`."""
    return enlarge_features(autoencoder.head(z_L, cut), size)


def feature_pair(autoencoder: FrozenAutoencoder, z_H: Tensor, z_L: Tensor, cut: str) -> FeaturePair:
    """f_B and f_H of paired latents at `cut`, not normalised."""
    f_H = autoencoder.head(z_H, cut)
    return FeaturePair(enlarged_feature(autoencoder, z_L, cut, f_H.shape[-2:]), f_H)


def sigma(t: Tensor, sigma_max: float) -> Tensor:
    """Noise level of the bridge: zero at both ends, sigma_max / 4 at its middle."""
    return sigma_max * t * (1 - t)


def sample_path(f_B: Tensor, f_H: Tensor, t: Tensor, eps: Tensor, sigma_max: float) -> PathSample:
    """f_t = (1 - t) f_B + t f_H + sigma(t) eps, with target velocity f_H - f_B."""
    time = t.view(-1, 1, 1, 1)
    return PathSample((1 - time) * f_B + time * f_H + sigma(time, sigma_max) * eps, t, f_H - f_B)


def draw_times(count: int, source: torch.Generator) -> Tensor:
    """t ~ U(0, 1), (count,)."""
    return torch.rand(count, generator=source)
