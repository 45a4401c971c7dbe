"""Detail and drift: what was added in high frequencies and what moved in low ones. Images (B, 3, H, W) in [0, 1]."""

import math

from torch import Tensor

from fsr.filters import high_pass, low_pass
from fsr.images import Resampling
from fsr.metrics.fidelity import l1, psnr, ssim

HIGH_PASS_SIGMA = 1.0
LOW_PASS_SIGMA = 2.0
FLAT = 1e-6  # a high-frequency energy that is float32's rounding alone


def high_frequency_error(images: Tensor, targets: Tensor) -> float:
    """L1 between the high-pass (sigma 1) parts."""
    return l1(high_pass(images, HIGH_PASS_SIGMA), high_pass(targets, HIGH_PASS_SIGMA))


def high_frequency_energy(images: Tensor) -> float:
    """Mean absolute high-pass (sigma 1) part."""
    return high_pass(images, HIGH_PASS_SIGMA).double().abs().mean().item()


def low_frequency_drift(images: Tensor, base: Tensor) -> float:
    """L1 between the low-pass (sigma 2) parts of `images` and of the enlarged decode of the low-resolution image."""
    return l1(low_pass(images, LOW_PASS_SIGMA), low_pass(base, LOW_PASS_SIGMA))


def low_frequency_contrast(images: Tensor) -> float:
    """Mean absolute deviation of the low-pass (sigma 2) part from its mean over the image, per channel."""
    blurred = low_pass(images, LOW_PASS_SIGMA).double()
    return (blurred - blurred.mean(dim=(2, 3), keepdim=True)).abs().mean().item()


def base_measures(
    output: Tensor, x_L: Tensor, base: Tensor, scale: int, resampling: Resampling, *, reflected_ssim: bool = False
) -> dict[str, float]:
    """Base preservation and detail of an output: what needs no high-resolution original.

    - base_psnr, base_ssim, base_l1, base_gradient_l1: of the output made small, as the protocol makes x_L, against x_L;
      RGB, no border dropped.
    - hf_energy, hf_gain: see `high_frequency_energy` and `high_frequency_gain`.
    - colour_shift: in 8-bit levels; how far the output made small is from x_L in the mean of a channel, over channels.

    Args:
        output: (1, 3, scale h, scale w), as the protocol measures it.
        x_L: (1, 3, h, w); base: x_base, the enlarged decode of x_L, as the protocol measures it.
        reflected_ssim: as `fsr.metrics.fidelity.ssim` has it.

    Raises:
        ValueError: output and base are not `scale` times x_L in size, or x_L is too small for SSIM.
    """
    size = (x_L.shape[-2] * scale, x_L.shape[-1] * scale)
    for name, image in (("output", output), ("base", base)):
        if tuple(image.shape[-2:]) != size:
            raise ValueError(
                f"{name} of {tuple(image.shape[-2:])} pixels is not {scale} times x_L, {size}; enlarge x_L by {scale}"
            )
    small = resampling.low_resolution(output, scale)
    return {
        "base_psnr": psnr(small, x_L),
        "base_ssim": ssim(small, x_L, reflected=reflected_ssim),
        "base_l1": l1(small, x_L),
        "base_gradient_l1": gradient_l1(small, x_L),
        "hf_energy": high_frequency_energy(output),
        "hf_gain": high_frequency_gain(output, base),
        "colour_shift": colour_shift(small, x_L),
    }


def gradient_l1(images: Tensor, targets: Tensor) -> float:
    """L1 between forward differences of neighbouring pixels, the mean of those in x and those in y."""
    return (l1(images.diff(dim=-1), targets.diff(dim=-1)) + l1(images.diff(dim=-2), targets.diff(dim=-2))) / 2


def high_frequency_gain(images: Tensor, base: Tensor) -> float:
    """High-frequency energy of `images` over that of the bicubic base; 1 is the base's own.

    Over a flat base, one of energy below 1e-6, it is infinite, and 1 where `images` are flat as well.
    """
    energy, base_energy = high_frequency_energy(images), high_frequency_energy(base)
    if base_energy >= FLAT:
        return energy / base_energy
    return math.inf if energy >= FLAT else 1.0


def colour_shift(images: Tensor, targets: Tensor) -> float:
    """Absolute difference of the channels' means in 8-bit levels, averaged over channels and images."""
    return 255 * l1(images.double().mean(dim=(2, 3)), targets.double().mean(dim=(2, 3)))
