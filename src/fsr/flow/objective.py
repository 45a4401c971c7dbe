"""The training objective: one function per term, and their weighted sum.

Feature terms are in normalised coordinates unless said otherwise; images are in the autoencoder's own range [-1, 1].
Shapes are (B, C, H, W). Source: docs/formulation.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fsr.filters import high_pass, low_pass
from fsr.flow.path import PathSample
from fsr.metrics.detail import HIGH_PASS_SIGMA, LOW_PASS_SIGMA

CHARBONNIER_EPS = 1e-6
FFT_LARGEST_SIDE = 256


def charbonnier(a: Tensor, b: Tensor) -> Tensor:
    """Mean of sqrt((a - b)^2 + 1e-6)."""
    return ((a - b).square() + CHARBONNIER_EPS).sqrt().mean()


def endpoint(sample: PathSample, velocity: Tensor) -> Tensor:
    """f_t + (1 - t) v: where the velocity at f_t points to at t = 1."""
    return sample.f_t + (1 - sample.t.view(-1, 1, 1, 1)) * velocity


def flow_term(sample: PathSample, velocity: Tensor) -> Tensor:
    """Velocity against f_H - f_B."""
    return charbonnier(velocity, sample.target)


def endpoint_term(end: Tensor, f_H: Tensor) -> Tensor:
    """End point against f_H."""
    return charbonnier(end, f_H)


def fft_term(end: Tensor, f_H: Tensor) -> Tensor:
    """L1 of amplitude spectra of denormalised features; sides above 256 are resized first."""
    return F.l1_loss(amplitude_spectrum(end), amplitude_spectrum(f_H))


def amplitude_spectrum(features: Tensor) -> Tensor:
    """abs(rfft2(., ortho)); sides above 256 are resized (bilinear) to 256 first."""
    size = tuple(min(side, FFT_LARGEST_SIDE) for side in features.shape[-2:])
    if size != tuple(features.shape[-2:]):
        features = F.interpolate(features, size=size, mode="bilinear", align_corners=False)
    return torch.fft.rfft2(features.float(), norm="ortho").abs()


def one_step_term(f_hat: Tensor, f_H: Tensor) -> Tensor:
    """The reported method's feature, f_B + v(f_B, 0), against f_H."""
    return charbonnier(f_hat, f_H)


def rgb_term(x_hat: Tensor, x_H_rec: Tensor) -> Tensor:
    """Its rendering against the autoencoder's reconstruction."""
    return charbonnier(x_hat, x_H_rec)


def low_frequency_term(x_hat: Tensor, x_base: Tensor) -> Tensor:
    """Anchor: low frequencies stay those of the enlarged decode of the low-resolution image."""
    return F.l1_loss(low_pass(x_hat, LOW_PASS_SIGMA), low_pass(x_base, LOW_PASS_SIGMA))


def high_frequency_term(x_hat: Tensor, x_H_rec: Tensor) -> Tensor:
    """High frequencies against those of the reconstruction."""
    return F.l1_loss(high_pass(x_hat, HIGH_PASS_SIGMA), high_pass(x_H_rec, HIGH_PASS_SIGMA))


def consistency_term(f_hat: Tensor, end: Tensor) -> Tensor:
    """One step against the end of several steps of the averaged field, which takes no gradient."""
    return charbonnier(f_hat, end.detach())


def drift_term(f_hat: Tensor, f_B: Tensor) -> Tensor:
    """How far one step moves denormalised features."""
    return F.l1_loss(f_hat, f_B)


def gate_sparsity_term(gate: Tensor) -> Tensor:
    """Mean of the gate."""
    return gate.mean()


def gate_variation_term(gate: Tensor) -> Tensor:
    """Anisotropic total variation of the gate, mean over neighbours."""
    return gate.diff(dim=-1).abs().mean() + gate.diff(dim=-2).abs().mean()


@dataclass(frozen=True)
class Images:
    """What the pixel terms compare, each (B, 3, H, W) in [-1, 1]."""

    x_hat: Tensor
    x_H_rec: Tensor
    x_base: Tensor


def pixel_terms(images: Images) -> dict[str, Tensor]:
    """The three terms that need the tail."""
    return {
        "rgb": rgb_term(images.x_hat, images.x_H_rec),
        "low_frequency": low_frequency_term(images.x_hat, images.x_base),
        "high_frequency": high_frequency_term(images.x_hat, images.x_H_rec),
    }


def gate_terms(gate: Tensor | None) -> dict[str, Tensor]:
    """The two terms on the gate; none where there is no gate."""
    if gate is None:
        return {}
    return {"gate_sparsity": gate_sparsity_term(gate), "gate_variation": gate_variation_term(gate)}


def weighted_sum(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Sum of weight x term over the terms given."""
    return torch.stack([weights[name] * value for name, value in terms.items()]).sum()
