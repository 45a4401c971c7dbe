"""Paired fidelity metrics on images in [0, 1], (1, 3, H, W), as docs/protocol.md defines them."""

import math

import cv2
import numpy as np
import torch
from torch import Tensor

SSIM_RADIUS, SSIM_SIGMA = 5, 1.5
SSIM_CONSTANTS = (0.01, 0.03)  # times the range, which is 1


def luma(images: Tensor) -> Tensor:
    """Y of ITU-R BT.601 YCbCr, in [16/255, 235/255], shaped (B, 1, H, W): the channel SR papers measure."""
    red, green, blue = images.split(1, dim=1)
    return (65.481 * red + 128.553 * green + 24.966 * blue + 16) / 255


def crop_border(images: Tensor, border: int) -> Tensor:
    """`images` without `border` pixels on each side."""
    return images[..., border : images.shape[-2] - border, border : images.shape[-1] - border] if border else images


def psnr(images: Tensor, targets: Tensor) -> float:
    """Peak signal-to-noise ratio in dB for a range of 1; infinite for equal images."""
    error = (images.double() - targets.double()).square().mean().item()
    return math.inf if error == 0 else -10 * math.log10(error)


def ssim(images: Tensor, targets: Tensor, *, reflected: bool = False) -> float:
    """Structural similarity with the 11x11 Gaussian window of sigma 1.5, averaged over positions and channels.

    Source: Wang et al. 2004, "Image quality assessment: from error visibility to structural similarity".

    Args:
        reflected: over every position, the images reflected at their border; else where the window lies inside.

    Raises:
        ValueError: a side is shorter than the window.
    """
    if min(images.shape[-2:]) <= 2 * SSIM_RADIUS:
        raise ValueError(f"SSIM needs sides over {2 * SSIM_RADIUS} pixels, not {tuple(images.shape[-2:])}")
    a, b = (x[0].permute(1, 2, 0).double().cpu().numpy() for x in (images, targets))
    mean_a, mean_b = _window(a), _window(b)
    covariance = _window(a * b) - mean_a * mean_b
    variances = _window(a * a) - mean_a**2 + _window(b * b) - mean_b**2
    steady, varying = (k**2 for k in SSIM_CONSTANTS)
    values = (2 * mean_a * mean_b + steady) * (2 * covariance + varying)
    values /= (mean_a**2 + mean_b**2 + steady) * (variances + varying)
    border = 0 if reflected else SSIM_RADIUS
    return float(values[border : len(values) - border, border : values.shape[1] - border].mean())


def _window(values: np.ndarray) -> np.ndarray:
    """(H, W, C) means under the window; OpenCV's separable filter takes a fiftieth of a 2-D convolution's time."""
    side = 2 * SSIM_RADIUS + 1
    blurred = cv2.GaussianBlur(values, (side, side), SSIM_SIGMA, borderType=cv2.BORDER_REFLECT_101)
    return blurred.reshape(values.shape)  # it drops a single channel's axis


def l1(images: Tensor, targets: Tensor) -> float:
    """Mean absolute difference, summed in double precision."""
    return (images - targets).abs().mean(dtype=torch.float64).item()
