"""Gaussian low-pass and high-pass filters of images and features."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def low_pass(images: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of (B, C, H, W), radius ceil(3 sigma), reflected at the border.

    Raises:
        ValueError: a side is not longer than the radius.
    """
    radius = math.ceil(3 * sigma)
    if min(images.shape[-2:]) <= radius:
        raise ValueError(
            f"sides {tuple(images.shape[-2:])} are too short for a blur of sigma {sigma}; need over {radius}"
        )
    positions = torch.arange(-radius, radius + 1, dtype=torch.float32, device=images.device)
    kernel = torch.exp(-0.5 * (positions / sigma) ** 2)
    kernel = (kernel / kernel.sum()).to(images.dtype)
    channels = images.shape[1]
    padded = F.pad(images, (radius,) * 4, mode="reflect")
    rows = F.conv2d(padded, kernel.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
    return F.conv2d(rows, kernel.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)


def high_pass(images: Tensor, sigma: float) -> Tensor:
    """`images` minus its Gaussian blur."""
    return images - low_pass(images, sigma)
