"""Detail and drift: what was added in high frequencies and what moved in low ones. Images (B, 3, H, W) in [0, 1]."""

from torch import Tensor

from fsr.filters import high_pass, low_pass
from fsr.metrics.fidelity import l1

HIGH_PASS_SIGMA = 1.0
LOW_PASS_SIGMA = 2.0


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
