"""The loss terms of LUA and LSRNA, one function each, and the weights of LUA's three stages.

Latents are (B, C, h, w): raw ones for LUA, scaled ones for LSRNA. Images are (B, 3, H, W), decoded, not clamped, in the
autoencoder's own range [-1, 1]. Every term is a mean over all that is compared.

Sources: LUA, arXiv 2511.10629; LSRNA, arXiv 2503.18446; EAGLE: Sun et al., EAGLE: An Edge-Aware Gradient Localization
Enhanced Loss for CT Image Reconstruction, 2024.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur, rgb_to_grayscale

from fsr.images import shrink

BLUR_SIDE, BLUR_SIGMA = 5, 1.0
EAGLE_PATCH, EAGLE_CUTOFF = 3, 0.5

LUA_STAGES: tuple[Mapping[str, float], ...] = (
    MappingProxyType({"latent": 1.0, "latent_spectrum": 0.1}),
    MappingProxyType({"latent": 1.0, "latent_spectrum": 0.1, "downsampled": 0.1, "detail": 0.05}),
    MappingProxyType({"pixel": 10.0, "pixel_spectrum": 1.0, "eagle": 5e-5}),
)


def latent_terms(z_hat: Tensor, z_H: Tensor, weights: Mapping[str, float]) -> dict[str, Tensor]:
    """Those of LUA's terms on raw latents that have a weight."""
    return _weighted({"latent": l1, "latent_spectrum": spectrum_l1}, z_hat, z_H, weights)


def pixel_terms(x_hat: Tensor, x_H: Tensor, scale: int, weights: Mapping[str, float]) -> dict[str, Tensor]:
    """Those of LUA's terms on decoded images that have a weight."""
    terms = {
        "downsampled": lambda a, b: downsampled_l1(a, b, scale),
        "detail": detail_l1,
        "pixel": l1,
        "pixel_spectrum": spectrum_l1,
        "eagle": eagle,
    }
    return _weighted(terms, x_hat, x_H, weights)


def _weighted(
    terms: Mapping[str, Callable[[Tensor, Tensor], Tensor]], a: Tensor, b: Tensor, weights: Mapping[str, float]
) -> dict[str, Tensor]:
    return {name: term(a, b) for name, term in terms.items() if name in weights}


def l1(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference: LUA's of latents and of pixels, and all of LSRNA's loss."""
    return F.l1_loss(a, b)


def spectrum_l1(a: Tensor, b: Tensor) -> Tensor:
    """L1 of amplitude spectra, abs(fft2(., ortho)), float32."""
    return F.l1_loss(*(torch.fft.fft2(x.float(), norm="ortho").abs() for x in (a, b)))


def downsampled_l1(x_hat: Tensor, x_H: Tensor, scale: int) -> Tensor:
    """L1 of images that were made `scale` times smaller again, bicubic with antialiasing."""
    return F.l1_loss(*(shrink(images, scale, antialias=True, rounded=False) for images in (x_hat, x_H)))


def detail_l1(x_hat: Tensor, x_H: Tensor) -> Tensor:
    """L1 of what a Gaussian of sigma 1, cut to 5x5 pixels, takes away from images; reflected at the border."""
    return F.l1_loss(*(images - gaussian_blur(images, BLUR_SIDE, BLUR_SIGMA) for images in (x_hat, x_H)))


def eagle(x_hat: Tensor, x_H: Tensor) -> Tensor:
    """L1 of weighted amplitude spectra of how much luma's gradient varies in each patch; along x plus along y.

    Spectra are not normalised. Their weight 1 - exp(-(|f| - 0.5)^2 / 2), |f| in cycles per patch, is the published
    "Gaussian high-pass"; it is largest at |f| = 0 and zero at 0.5.
    """
    spectra = (torch.fft.fft2(gradient_variances(images)).abs() for images in (x_hat, x_H))
    difference = torch.sub(*spectra).abs()
    f_y, f_x = (torch.fft.fftfreq(side, device=x_hat.device) for side in difference.shape[-2:])
    weight = 1 - torch.exp(-(torch.hypot(f_y[:, None], f_x) - EAGLE_CUTOFF).square() / 2)
    return (weight * difference).mean(dim=(0, 2, 3)).sum()


def gradient_variances(images: Tensor) -> Tensor:
    """Sample variance of Scharr's gradient of luma in each 3x3 patch: (B, 2, H // 3, W // 3), along x and along y.

    Patches do not overlap; what is left over on the right and below is not looked at. Borders are padded with zeros.
    """
    along_x = torch.tensor([[-3.0, 0.0, 3.0], [-10.0, 0.0, 10.0], [-3.0, 0.0, 3.0]], device=images.device)
    kernels = torch.stack([along_x, along_x.T])[:, None]
    gradients = F.conv2d(rgb_to_grayscale(images.float()), kernels, padding=1)
    patches = gradients.unfold(2, EAGLE_PATCH, EAGLE_PATCH).unfold(3, EAGLE_PATCH, EAGLE_PATCH)
    return patches.flatten(4).var(dim=4)
