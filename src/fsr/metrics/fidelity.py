"""Paired fidelity metrics on images in [0, 1], (1, 3, H, W), as docs/protocol.md defines them."""

import math

from torch import Tensor

SSIM_RADIUS = 5


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

    Args:
        reflected: over every position, the images reflected at their border; else where the window lies inside.

    Raises:
        ValueError: a side is shorter than the window.
    """
    # Its import takes seconds, and most jobs measure no SSIM.
    from torchmetrics.functional.image import structural_similarity_index_measure

    if min(images.shape[-2:]) <= 2 * SSIM_RADIUS:
        raise ValueError(f"SSIM needs sides over {2 * SSIM_RADIUS} pixels, not {tuple(images.shape[-2:])}")
    _, values = structural_similarity_index_measure(
        images, targets, gaussian_kernel=True, sigma=1.5, data_range=1.0, return_full_image=True
    )
    return crop_border(values, 0 if reflected else SSIM_RADIUS).double().mean().item()


def l1(images: Tensor, targets: Tensor) -> float:
    """Mean absolute difference."""
    return (images.double() - targets.double()).abs().mean().item()
