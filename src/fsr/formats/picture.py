"""What an image file holds, and how a larger one of it is to be written."""

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fsr.images import enlarge

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow makes grey of colour


@dataclass(frozen=True)
class Picture:
    """An image as the network takes it, and what else its file carries.

    Attributes:
        colour: (1, 3, h, w) in [0, 1], not premultiplied by alpha; grey is there three times.
        alpha: (1, 1, h, w) in [0, 1]; None where all is opaque.
        depth: bits of a sample, 8 or 16.
        format: png, jpeg, webp, tiff or bmp.
        lossless: whether it was stored so. subsampling: of a JPEG's chroma, as Pillow numbers it.
        dpi: horizontal and vertical. exif: without orientation, which colour and alpha have.
        chunks: of a PNG, those about colour and those of text.
    """

    colour: Tensor
    alpha: Tensor | None = None
    grey: bool = False
    depth: int = 8
    format: str = "png"
    lossless: bool = True
    subsampling: int = 0
    icc: bytes | None = None
    dpi: tuple[float, float] | None = None
    exif: Image.Exif = field(default_factory=Image.Exif)
    chunks: tuple[tuple[bytes, bytes], ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.colour.shape[-1], self.colour.shape[-2]

    def enlarged(self, colour: Tensor, scale: int) -> "Picture":
        """This picture with its colour replaced by `colour`, `scale` times as large, and alpha enlarged bicubically."""
        alpha = None if self.alpha is None else enlarge(self.alpha, scale).clamp(0, 1)
        return replace(self, colour=colour, alpha=alpha)

    def pixels(self, depth: int) -> np.ndarray:
        """(H, W, C) as uint8 or uint16, rounded: C is 1 for grey or 3, one more with alpha."""
        colour = self.colour[0].float().cpu()
        if self.grey:
            colour = (colour * torch.tensor(LUMA).view(3, 1, 1)).sum(0, keepdim=True)
        planes = colour if self.alpha is None else torch.cat([colour, self.alpha[0].float().cpu()])
        levels = (planes.clamp(0, 1) * (2**depth - 1)).round()
        return levels.permute(1, 2, 0).contiguous().numpy().astype(f"uint{depth}")


@dataclass(frozen=True)
class Encoding:
    """How results are written.

    Attributes:
        format: png, jpeg, webp or tiff; keep: the input's own.
        quality: of JPEG and of lossy WebP, 1 to 100; None for 95, and for a lossless WebP of what was lossless.
    """

    format: str = "keep"
    quality: int | None = None
