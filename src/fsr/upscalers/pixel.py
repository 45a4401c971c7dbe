"""The rows of pixel super-resolution: any model spandrel reads, on the decode or on the image itself."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal

import torch
from spandrel import ImageModelDescriptor, ModelLoader, ModelTiling, UnsupportedModelError
from torch import Tensor

from fsr.rivals.published import read_checkpoint
from fsr.upscalers.base import Capabilities, Clock, Rendering, Sample, untimed

MARGIN = 32  # pixels of context a tile has on each side, but at most a quarter of the tile


@dataclass(frozen=True)
class Pixel:
    """A pixel super-resolution model on the decode of the low-resolution latent, or on the low-resolution image.

    What goes in is clamped to [0, 1], as pixels of a file would be; spandrel clamps what comes out.

    Args:
        tile: side in pixels of the overlapping tiles a larger image is enlarged in; None for whole images.

    Raises:
        ValueError: the model cannot be run in such tiles; or, when called, another scale than the model's.
    """

    model: ImageModelDescriptor
    name: str
    source: Literal["decoded", "image"]
    tile: int | None

    def __post_init__(self) -> None:
        if self.tile is None:
            return
        if self.model.tiling is ModelTiling.INTERNAL:
            raise ValueError(f"{self.name}: this model makes its own tiles; set tile to null")
        needs = self.model.size_requirements
        least = max(needs.minimum, 4 * needs.multiple_of)
        if self.tile < least:
            raise ValueError(f"{self.name}: this model needs tiles of {least} pixels or more, not {self.tile}")

    @property
    def capabilities(self) -> Capabilities:
        entry = "latent" if self.source == "decoded" else "image"
        return Capabilities(entry, scales=(self.model.scale,), networks=(self.model.model,))

    def __call__(self, sample: Sample, clock: Clock = untimed) -> Rendering:
        if sample.scale != self.model.scale:
            raise ValueError(f"{self.name}: this model enlarges {self.model.scale} times, not {sample.scale}")
        if self.source == "decoded":
            with clock("encode"):
                sample.z_L  # noqa: B018 - made here, once
            with clock("decode"):
                sample.x_L_rec  # noqa: B018 - likewise
        with clock("model"):
            image = sample.x_L_rec if self.source == "decoded" else sample.x_L
            enlarged = enlarged_in_tiles(self.model, image.clamp(0, 1), self.tile)
        return Rendering(enlarged)


def enlarged_in_tiles(model: ImageModelDescriptor, image: Tensor, tile: int | None) -> Tensor:
    """The model's output (1, 3, scale H, scale W) for an image (1, 3, H, W); whole where no side is above `tile`.

    Of each tile only the middle is kept, so the result is that of the whole image as long as the model sees no further
    than the margin; one that attends to more, or to statistics of its input, comes close.
    """
    if tile is None or max(image.shape[-2:]) <= tile:
        return model(image)
    scale, multiple = model.scale, model.size_requirements.multiple_of
    height, width = image.shape[-2:]
    output = image.new_empty(*image.shape[:2], scale * height, scale * width)
    for rows, columns in product(tiles(height, tile, multiple), tiles(width, tile, multiple)):
        part = model(image[..., rows.taken, columns.taken].contiguous())
        middle = part[..., rows.middle(scale), columns.middle(scale)]
        output[..., rows.place(scale), columns.place(scale)] = middle
    return output


@dataclass(frozen=True)
class Span:
    """A tile along one axis, in pixels of the input: taken from `begin` to `end`, and kept from `start` to `stop`."""

    begin: int
    end: int
    start: int
    stop: int

    @property
    def taken(self) -> slice:
        return slice(self.begin, self.end)

    def middle(self, scale: int) -> slice:
        """What is kept of the tile's output."""
        return slice(scale * (self.start - self.begin), scale * (self.stop - self.begin))

    def place(self, scale: int) -> slice:
        """Where it stands in the whole output."""
        return slice(scale * self.start, scale * self.stop)


def tiles(length: int, tile: int, multiple: int) -> Iterator[Span]:
    """Spans that begin at multiples of `multiple`, reach at most `tile`, and whose kept parts fill `length`."""
    size = tile // multiple * multiple
    margin = min(max(MARGIN, multiple), size // 4) // multiple * multiple
    last = max(0, -(-(length - size) // multiple) * multiple)
    for start in range(0, length, size - 2 * margin):
        begin = min(max(0, start - margin), last)
        yield Span(begin, min(begin + size, length), start, min(start + size - 2 * margin, length))


def load_pixel_model(path: Path | str, device: torch.device | str = "cpu") -> ImageModelDescriptor:
    """The super-resolution model in a file, in eval mode, float32, on `device`.

    Raises:
        FileNotFoundError: nothing at `path`.
        ValueError: it is no model spandrel knows, does something else than super-resolution, or not on RGB images.
    """
    content = read_checkpoint(path)
    try:
        model = ModelLoader(device).load_from_state_dict(dict(content))
    except UnsupportedModelError as error:
        raise ValueError(f"{path} is of no architecture spandrel knows; choose another model") from error
    except (RuntimeError, KeyError, ValueError, TypeError, AttributeError, AssertionError) as error:
        raise ValueError(f"{path} looks like a model and does not load as one; fetch it again") from error
    if not isinstance(model, ImageModelDescriptor) or model.purpose != "SR":
        raise ValueError(f"{path} is a {model.architecture.name} for {model.purpose}; choose one for super-resolution")
    if (model.input_channels, model.output_channels) != (3, 3):
        channels = f"{model.input_channels} to {model.output_channels} channels"
        raise ValueError(f"{path} makes {channels}; choose a model from RGB to RGB")
    return model.eval()
