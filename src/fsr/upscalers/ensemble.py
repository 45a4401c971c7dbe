"""Any row on the eight views of an image: what is lost at one orientation is not what is lost at another."""

from dataclasses import dataclass, replace
from itertools import product

from torch import Tensor

from fsr.upscalers.base import Capabilities, Clock, Rendering, Sample, Upscaler, untimed

VIEWS = tuple(product((False, True), range(4)))  # mirrored or not, quarter turns; the first is the image itself


@dataclass(frozen=True)
class Ensemble:
    """The mean of what `row` makes of an image turned and mirrored in each of eight ways, each turned back.

    It takes eight times as long as the row, and pixels: a generator's latent has no other views.

    Source: Timofte, Rothe and Van Gool 2016, "Seven ways to improve example-based single image super resolution" (arXiv
    1511.02228), where it is called enhanced prediction; "self-ensemble" and a "+" after a method's name since.
    """

    row: Upscaler
    name: str

    @property
    def capabilities(self) -> Capabilities:
        return replace(self.row.capabilities, entry="image")

    def __call__(self, sample: Sample, clock: Clock = untimed) -> Rendering:
        total = self.row(sample, clock).image
        for view in VIEWS[1:]:
            seen = Sample(sample.autoencoder, turned(sample.x_L, *view), sample.scale, resampling=sample.resampling)
            total = total + turned_back(self.row(seen, clock).image, *view)
        return Rendering(total / len(VIEWS))


def turned(image: Tensor, mirrored: bool, turns: int) -> Tensor:
    """An image (B, C, H, W), mirrored from left to right or not, then turned by quarters."""
    return (image.flip(-1) if mirrored else image).rot90(turns, (-2, -1))


def turned_back(image: Tensor, mirrored: bool, turns: int) -> Tensor:
    """The image of which `turned` made this one."""
    image = image.rot90(-turns, (-2, -1))
    return image.flip(-1) if mirrored else image
