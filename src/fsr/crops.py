"""The training crops: which squares of which images, drawn from the seed alone."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from PIL import Image
from torch import Tensor

from fsr.config import Latents
from fsr.images import read_image, to_bytes
from fsr.randomness import generator, integers

Part = Literal["whole", "train", "validation"]  # of an image: all of it, or one side of the band that is held out


@dataclass(frozen=True)
class Crop:
    """A square of one image: file, top-left corner in pixels, and whether it is mirrored."""

    file: Path
    top: int
    left: int
    flip_horizontal: bool
    flip_vertical: bool


def plan_splits(train: list[Path], validation: list[Path], params: Latents, seed: int) -> dict[str, list[Crop]]:
    """The crops of both splits. Held-out crops come from `validation`, or where that is empty from bands of `train`.

    Raises:
        ValueError: an image is smaller than a crop, or no image can spare a band.
    """
    parts: tuple[Part, Part] = ("whole", "whole") if validation else ("train", "validation")
    return {
        "train": plan_crops(train, params, seed, "train", parts[0]),
        "validation": plan_crops(validation or train, params, seed, "validation", parts[1]),
    }


def plan_crops(files: list[Path], params: Latents, seed: int, split: str, part: Part) -> list[Crop]:
    """The crops of a split, a function of the files, `params` and the seed alone.

    Each image is as likely as any other, whatever its size. The held-out band lies at the end of an image's longer side
    and no training crop touches it; images too short to spare a band serve training only.

    Raises:
        ValueError: an image is smaller than a crop, or no image can spare a band.
    """
    sizes = [_image_size(file) for file in files]
    for file, (width, height) in zip(files, sizes, strict=True):
        if min(width, height) < params.crop_size:
            raise ValueError(
                f"{file} ({width}x{height}) is smaller than latents.crop_size {params.crop_size}; leave it out with "
                "data.exclude or lower that"
            )
    regions = [_region(width, height, params, part) for width, height in sizes]
    usable = [index for index, (left, _, right, _) in enumerate(regions) if right > left]
    if not usable:
        raise ValueError("no training image is large enough to hold out validation crops; lower latents.crop_size")
    size, crops = params.crop_size, []
    for index in range(params.crops if split == "train" else params.validation_crops):
        source = generator(seed, f"crop/{split}", index)
        image = usable[integers(len(usable), 1, source)[0]]
        left, top, right, bottom = regions[image]
        y, x = integers(bottom - top - size + 1, 1, source)[0], integers(right - left - size + 1, 1, source)[0]
        flips = integers(2, 2, source)
        crops.append(Crop(files[image], top + y, left + x, bool(flips[0]), bool(flips[1])))
    return crops


def _region(width: int, height: int, params: Latents, part: Part) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of the part of an image; empty where nothing can be held out."""
    if part == "whole":
        return (0, 0, width, height)
    longer = max(width, height)
    band = max(params.crop_size, round(params.validation_fraction * longer))
    if longer - band < params.crop_size:
        return (0, 0, width, height) if part == "train" else (0, 0, 0, 0)
    edge = longer - band
    if width >= height:
        return (0, 0, edge, height) if part == "train" else (edge, 0, width, height)
    return (0, 0, width, edge) if part == "train" else (0, edge, width, height)


def _image_size(file: Path) -> tuple[int, int]:
    """(width, height) after EXIF transposition, from the header alone."""
    with Image.open(file) as image:
        quarter_turned = image.getexif().get(0x0112, 1) >= 5  # orientations 5 to 8 swap the sides
        return image.size[::-1] if quarter_turned else image.size


def read_crops(crops: list[Crop], size: int) -> Tensor:
    """(N, 3, size, size) uint8; each image is read once."""
    result = torch.empty(len(crops), 3, size, size, dtype=torch.uint8)
    for file in dict.fromkeys(crop.file for crop in crops):
        image = to_bytes(read_image(file))[0]
        for index, crop in enumerate(crops):
            if crop.file == file:
                pixels = image[:, crop.top : crop.top + size, crop.left : crop.left + size]
                axes = [axis for axis, flip in ((2, crop.flip_horizontal), (1, crop.flip_vertical)) if flip]
                result[index] = pixels.flip(axes)
    return result
