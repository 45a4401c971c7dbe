"""The benchmark's 8-bit pictures: where they lie, which are shown, and the windows where FSR gains most and least."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fsr.images import read_image
from fsr.report.names import BASE, CEILING, FSR, LR, Rows

MOST_SHOWN = 16  # images of one set; of a larger set, half are those with the largest gain, half those with the least

THUMBNAIL = 1024  # pixels
FEW = 5  # images of the comparison of methods side by side


@dataclass(frozen=True)
class Gallery:
    """Pictures of one scale below `folder` as <set>/<row>/<image>.png.

    Attributes:
        rows: the ones shown.
        labels: what every row is called.
    """

    folder: Path
    rows: tuple[str, ...]
    scale: int
    labels: Rows

    def path(self, set_name: str, row: str, image: str) -> Path:
        return self.folder / set_name / row / f"{image}.png"

    def pixels(self, set_name: str, row: str, image: str) -> np.ndarray:
        """(H, W, 3) float32 in [0, 1]; `lr` with every pixel repeated to the size of the others.

        Raises:
            FileNotFoundError, ValueError: the picture is missing or damaged.
        """
        pixels = read_image(self.path(set_name, row, image))[0].permute(1, 2, 0).numpy()
        return pixels.repeat(self.scale, axis=0).repeat(self.scale, axis=1) if row == LR else pixels

    def thumbnail(self, set_name: str, row: str, image: str) -> np.ndarray:
        """The same, where large averaged over squares so that many fit in memory: below THUMBNAIL on its shorter side.

        Raises:
            FileNotFoundError, ValueError: the picture is missing or damaged.
        """
        pixels = self.pixels(set_name, row, image)
        size = max(1, min(pixels.shape[:2]) // (THUMBNAIL // 2))
        if size == 1:
            return pixels
        height, width = (side // size for side in pixels.shape[:2])
        squares = pixels[: height * size, : width * size].reshape(height, size, width, size, 3)
        return squares.mean(axis=(1, 3))


@dataclass(frozen=True)
class Window:
    """A square of a test image, and there: mean squared error of the base minus FSR's, both against x_H_rec."""

    set: str
    image: str
    top: int
    left: int
    size: int
    gain: float

    def of(self, pixels: np.ndarray) -> np.ndarray:
        """The window of (H, W, ...) pixels."""
        return pixels[self.top : self.top + self.size, self.left : self.left + self.size]


def shown(gains: pd.DataFrame) -> pd.DataFrame:
    """The images to show, per set from the largest gain to the least; see MOST_SHOWN. Columns as in `tables.gains`."""
    return pd.concat([_shown_of_set(part) for _, part in gains.groupby("set", sort=False)])


def _shown_of_set(part: pd.DataFrame) -> pd.DataFrame:
    ranked, half = part.sort_values("gain", ascending=False, kind="stable"), MOST_SHOWN // 2
    return ranked if len(ranked) <= MOST_SHOWN else pd.concat([ranked[:half], ranked[-half:]])


def windows(gallery: Gallery, images: pd.DataFrame, size: int) -> Iterator[Window]:
    """Every non-overlapping window of `size` pixels from the top left corner of every image (columns set, image)."""
    for place in images.itertuples():
        fsr, base, target = (gallery.pixels(place.set, row, place.image) for row in (FSR, BASE, CEILING))
        gain = ((base - target) ** 2 - (fsr - target) ** 2).mean(axis=2, dtype=np.float64)
        rows, columns = (side // size for side in gain.shape)
        blocks = gain[: rows * size, : columns * size].reshape(rows, size, columns, size).mean(axis=(1, 3))
        for (i, j), value in np.ndenumerate(blocks):
            yield Window(place.set, place.image, i * size, j * size, size, float(value))


def extremes(candidates: Sequence[Window], count: int) -> tuple[list[Window], list[Window]]:
    """The `count` windows with the largest gain (largest first) and, of the rest, with the least gain (least first).

    Raises:
        ValueError: there is no window.
    """
    if not candidates:
        raise ValueError("no test image holds a window of report.zoom_size pixels; make it smaller")
    ranked = sorted(candidates, key=lambda window: -window.gain)
    return ranked[:count], ranked[count:][::-1][:count]
