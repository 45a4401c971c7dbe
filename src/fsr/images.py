"""Reading, writing, cropping and resizing images.

Images are float32 in [0, 1], shaped (B, 3, H, W), at every boundary of the project.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from fsr.files import write_atomically
from fsr.layouts import SUFFIXES

VIEWS = tuple(product((False, True), range(4)))  # mirrored or not, quarter turns; the first is the image itself


def list_images(folder: Path | str) -> list[Path]:
    """Image files directly inside `folder`, by name.

    Raises:
        FileNotFoundError: the folder is missing or holds no image.
    """
    folder = Path(folder)
    found = sorted(p for p in folder.glob("*") if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    if not found:
        raise FileNotFoundError(f"no images in {folder}; expected files ending in {', '.join(sorted(SUFFIXES))}")
    return found


def read_image(path: Path | str) -> Tensor:
    """One image as (1, 3, H, W) in [0, 1]: EXIF-transposed, grey repeated to RGB, alpha composited on white.

    16-bit grey keeps its precision; 16-bit colour is read at 8 bits (a limit of Pillow).

    Raises:
        FileNotFoundError: nothing at `path`.
        ValueError: the file is not an image, or is truncated.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"image {path} is missing; put it back or remake its dataset")
    try:
        with Image.open(path) as opened:
            opened.load()
            image = ImageOps.exif_transpose(opened)
    except UnidentifiedImageError as error:
        raise ValueError(f"{path} is not an image that can be read; replace or remove it") from error
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{path} is truncated or damaged ({error}); fetch it again or remove it") from error
    return torch.from_numpy(rgb_pixels(image)).permute(2, 0, 1)[None].contiguous()


def rgb_pixels(image: Image.Image) -> np.ndarray:
    """(H, W, 3) float32 in [0, 1] of an image of any mode: grey repeated, alpha composited on white."""
    if image.mode.startswith("I"):  # 16-bit grey
        grey = np.asarray(image, dtype=np.float32) / 65535
        return np.repeat(grey[..., None], 3, axis=2)
    if "A" in image.getbands() or "transparency" in image.info:
        colour = image.convert("RGBA")
        white = Image.new("RGBA", colour.size, "white")
        image = Image.alpha_composite(white, colour)
    return np.asarray(image.convert("RGB"), dtype=np.float32) / 255


def write_image(path: Path | str, image: Tensor) -> Path:
    """Write (1, 3, H, W) or (3, H, W) in [0, 1] as an 8-bit file, atomically; the suffix chooses the format."""
    pixels = to_bytes(image.reshape(image.shape[-3:])).permute(1, 2, 0).cpu().numpy()
    return write_atomically(path, lambda temporary: Image.fromarray(pixels).save(temporary))


def to_bytes(images: Tensor) -> Tensor:
    """[0, 1] floats, clamped and rounded to uint8."""
    return (images.clamp(0, 1) * 255).round().to(torch.uint8)


def quantise(images: Tensor) -> Tensor:
    """Clamp and round to the 256 levels a saved 8-bit file would hold; still float32 in [0, 1]."""
    return to_bytes(images).float() / 255


def crop_to_multiple(images: Tensor, multiple: int, *, centred: bool = False) -> Tensor:
    """The largest crop whose sides are multiples of `multiple`: from the top left corner, or the centre.

    Raises:
        ValueError: the image is smaller than one multiple.
    """
    height, width = images.shape[-2:]
    new_height, new_width = height // multiple * multiple, width // multiple * multiple
    if not new_height or not new_width:
        raise ValueError(
            f"an image of {width}x{height} pixels is smaller than {multiple}x{multiple}, the least this scale and "
            "autoencoder can take; remove it from the dataset"
        )
    top, left = ((height - new_height) // 2, (width - new_width) // 2) if centred else (0, 0)
    return images[..., top : top + new_height, left : left + new_width]


def shrink(images: Tensor, scale: int, *, antialias: bool = True, rounded: bool = True) -> Tensor:
    """Low-resolution images (B, C, H / scale, W / scale); sides must be multiples of `scale`.

    Args:
        antialias: bicubic of a = -0.5, its kernel widened by `scale`, as MATLAB's imresize and Pillow have it; else
            torch's plain bicubic of a = -0.75.
        rounded: clamped and rounded to 8 bits; else float, and outside [0, 1] where the kernel overshoots.
    """
    height, width = images.shape[-2:]
    size = (height // scale, width // scale)
    small = F.interpolate(images, size=size, mode="bicubic", align_corners=False, antialias=antialias)
    return quantise(small) if rounded else small


def enlarge(images: Tensor, scale: int, *, antialias: bool = True) -> Tensor:
    """Pixels enlarged to (B, C, scale H, scale W), bicubic, not rounded.

    Args:
        antialias: with the kernel `shrink` has by this name, which torch ties to it: a = -0.5, else a = -0.75.
    """
    height, width = images.shape[-2:]
    size = (height * scale, width * scale)
    return F.interpolate(images, size=size, mode="bicubic", align_corners=False, antialias=antialias)


@dataclass(frozen=True)
class Resampling:
    """How a protocol makes low-resolution images and enlarges pixels; fields as the arguments of `shrink`."""

    antialias: bool
    rounded: bool

    def low_resolution(self, x_H: Tensor, scale: int) -> Tensor:
        """x_L (B, C, H / scale, W / scale) of x_H, whose sides must be multiples of `scale`."""
        return shrink(x_H, scale, antialias=self.antialias, rounded=self.rounded)

    def enlarge(self, images: Tensor, scale: int) -> Tensor:
        """Pixels (B, C, scale H, scale W), not rounded."""
        return enlarge(images, scale, antialias=self.antialias)


RESAMPLINGS = {
    "strict": Resampling(antialias=True, rounded=True),
    "prototype": Resampling(antialias=False, rounded=False),
}


def enlarge_features(features: Tensor, size: tuple[int, int]) -> Tensor:
    """Latents or decoder features enlarged to `size` (H, W): torch's bicubic, a = -0.75, no antialiasing (method)."""
    return F.interpolate(features, size=size, mode="bicubic", align_corners=False)


def turned(image: Tensor, mirrored: bool, turns: int) -> Tensor:
    """An image (B, C, H, W), mirrored from left to right or not, then turned by quarters."""
    return (image.flip(-1) if mirrored else image).rot90(turns, (-2, -1))


def turned_back(image: Tensor, mirrored: bool, turns: int) -> Tensor:
    """The image of which `turned` made this one."""
    image = image.rot90(-turns, (-2, -1))
    return image.flip(-1) if mirrored else image


def self_ensemble(enlarge: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    """The mean of what `enlarge` makes of the eight views of an image, each turned back.

    Source: Timofte, Rothe and Van Gool 2016, "Seven ways to improve example-based single image super resolution" (arXiv
    1511.02228), where it is called enhanced prediction.
    """
    first, *others = VIEWS
    total = enlarge(turned(image, *first))
    for view in others:
        total = total + turned_back(enlarge(turned(image, *view)), *view)
    return total / len(VIEWS)
