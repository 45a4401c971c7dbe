"""Named evaluation protocols: how images are prepared and which numbers are taken (docs/protocol.md)."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from fsr.autoencoders import FrozenAutoencoder
from fsr.images import RESAMPLINGS, Resampling, crop_to_multiple, quantise
from fsr.metrics.fidelity import crop_border, l1, luma, psnr, ssim
from fsr.upscalers.base import Sample


@dataclass(frozen=True)
class Protocol:
    """What a named protocol does where protocols differ.

    Attributes:
        centred: images are cropped around their centre to what scale and autoencoder take; else from the top left
            corner, as MATLAB scripts of super-resolution do.
        resampling: makes low-resolution images and enlarges pixels.
        rounded: outputs and targets are rounded to 8 bits before any metric; else they are floats.
        drops_border: PSNR, SSIM and L1 leave a border of `scale` pixels out.
        reflected_ssim: SSIM is taken at every position, images reflected; else where its window lies inside.
        perceptual_side: perceptual metrics see images resized to this many pixels a side; None leaves their size.
    """

    name: str
    centred: bool
    resampling: Resampling
    rounded: bool
    drops_border: bool
    reflected_ssim: bool
    perceptual_side: int | None

    def sample(self, image: Tensor, autoencoder: FrozenAutoencoder, scale: int) -> Sample:
        """An evaluation sample of an image (1, 3, H, W) in [0, 1], cropped to what scale and autoencoder take.

        Raises:
            ValueError: the image is too small.
        """
        x_H = crop_to_multiple(image, scale * autoencoder.factor, centred=self.centred)
        return Sample(autoencoder, self.resampling.low_resolution(x_H, scale), scale, x_H, self.resampling)

    def base_sample(self, image: Tensor, autoencoder: FrozenAutoencoder, scale: int) -> Sample:
        """A sample whose low-resolution image is the image itself, (1, 3, H, W) in [0, 1]; it has no high resolution.

        Raises:
            ValueError: the image is too small.
        """
        x_L = crop_to_multiple(image, autoencoder.factor, centred=self.centred)
        return Sample(autoencoder, self.output(x_L), scale, None, self.resampling)

    def output(self, images: Tensor) -> Tensor:
        """What is measured: clamped to [0, 1], the range of every metric, and rounded where the protocol says so."""
        return quantise(images) if self.rounded else images.clamp(0, 1)

    def fidelity(self, output: Tensor, target: Tensor, scale: int) -> dict[str, float]:
        """PSNR and SSIM in RGB and luma, and RGB L1, of what `output` made.

        Raises:
            ValueError: an image is too small for SSIM.
        """
        border = scale if self.drops_border else 0
        a, b = crop_border(output, border), crop_border(target, border)
        a_luma, b_luma = luma(a), luma(b)
        return {
            "psnr": psnr(a, b),
            "psnr_y": psnr(a_luma, b_luma),
            "ssim": ssim(a, b, reflected=self.reflected_ssim),
            "ssim_y": ssim(a_luma, b_luma, reflected=self.reflected_ssim),
            "rgb_l1": l1(a, b),
        }

    def perceptual_view(self, images: Tensor) -> Tensor:
        """The images as perceptual metrics see them: whole, or squares of `perceptual_side` (bilinear, aliased)."""
        if self.perceptual_side is None:
            return images
        return F.interpolate(images, size=(self.perceptual_side,) * 2, mode="bilinear", align_corners=False)


PROTOCOLS = {
    "strict": Protocol(
        name="strict",
        centred=False,
        resampling=RESAMPLINGS["strict"],
        rounded=True,
        drops_border=True,
        reflected_ssim=False,
        perceptual_side=None,
    ),
    "prototype": Protocol(
        name="prototype",
        centred=True,
        resampling=RESAMPLINGS["prototype"],
        rounded=False,
        drops_border=False,
        reflected_ssim=True,
        perceptual_side=256,
    ),
}
