"""Named evaluation protocols: how images are prepared and which numbers are taken (docs/protocol.md)."""

from dataclasses import dataclass

from torch import Tensor

from fsr.autoencoders import FrozenAutoencoder
from fsr.images import centre_crop_to_multiple, quantise, shrink
from fsr.metrics.fidelity import crop_border, l1, luma, psnr, ssim
from fsr.upscalers.base import Sample


@dataclass(frozen=True)
class Protocol:
    """`strict`: antialiased 8-bit LR, 8-bit output, border of `scale` pixels left out of PSNR, SSIM and L1."""

    name: str

    def sample(self, image: Tensor, autoencoder: FrozenAutoencoder, scale: int) -> Sample:
        """An evaluation sample of an image (1, 3, H, W) in [0, 1], cropped to what scale and autoencoder take.

        Raises:
            ValueError: the image is too small.
        """
        x_H = centre_crop_to_multiple(image, scale * autoencoder.factor)
        return Sample(autoencoder, shrink(x_H, scale), scale, x_H)

    def output(self, images: Tensor) -> Tensor:
        """What would be saved: clamped and rounded to 8 bits."""
        return quantise(images)

    def fidelity(self, output: Tensor, target: Tensor, scale: int) -> dict[str, float]:
        """PSNR and SSIM in RGB and luma, and RGB L1, of 8-bit images without their border."""
        a, b = crop_border(output, scale), crop_border(target, scale)
        a_luma, b_luma = luma(a), luma(b)
        return {
            "psnr": psnr(a, b),
            "psnr_y": psnr(a_luma, b_luma),
            "ssim": ssim(a, b),
            "ssim_y": ssim(a_luma, b_luma),
            "rgb_l1": l1(a, b),
        }


PROTOCOLS = {"strict": Protocol("strict")}
