"""Figures of single images: the representative crop, one picture through the rows, up to five enlarged side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fsr.report.mosaics import label_axes, window_row
from fsr.report.names import BASE, BICUBIC, CEILING, FSR, HR, LR
from fsr.report.pictures import Gallery, Window
from fsr.report.style import bare, drawing

# The order of FSR's steps: what goes in, plain enlargements, the feature bicubic it starts from, where it arrives.
STEPS = (
    LR,
    "bicubic",
    "decoded_bicubic",
    "latent_bicubic",
    BASE,
    FSR,
    "fsr_euler2",
    "fsr_euler4",
    "fsr_heun4",
    CEILING,
    HR,
)
MOST_RIVALS = 2


def draw_representative(path: Path, gallery: Gallery, window: Window) -> None:
    """One line: the window as every gallery row renders it, with its PSNR there against x_H_rec in dB."""
    with drawing(path, 1.5 * len(gallery.rows) + 0.2, 2.0) as figure:
        panels = figure.subplots(1, len(gallery.rows), squeeze=False)
        window_row(panels[0], gallery, window)


def draw_trend(path: Path, gallery: Gallery, set_name: str, image: str) -> None:
    """One image through the rows in the order of FSR's steps, then what FSR changed and what there was to change.

    Both maps are absolute differences to feature bicubic, mean over channels, in 8-bit levels and on one colour scale:
    of FSR, and of the reconstruction it is to reach.
    """
    steps = [row for row in STEPS if row in gallery.rows or row in (BASE, FSR, CEILING)]
    pictures = {row: gallery.pixels(set_name, row, image) for row in steps}
    maps = {
        "|FSR − feature bicubic|": _delta(pictures[FSR], pictures[BASE]),
        "|reconstruction − feature bicubic|": _delta(pictures[CEILING], pictures[BASE]),
    }
    columns = -(-(len(steps) + len(maps)) // 2)
    height, width = pictures[FSR].shape[:2]
    with drawing(path, 2.1 * columns + 0.6, 2 * (2.1 * height / width + 0.3)) as figure:
        panels = iter(figure.subplots(2, columns, squeeze=False).flat)
        for row in steps:
            _picture(next(panels), pictures[row], gallery.labels[row].label)
        _delta_maps(figure, [next(panels) for _ in maps], maps)
        for axes in panels:
            axes.remove()


def _delta(picture: np.ndarray, base: np.ndarray) -> np.ndarray:
    return 255 * np.abs(picture - base).mean(axis=2, dtype=np.float64)


def _delta_maps(figure: Figure, panels: Sequence[Axes], maps: Mapping[str, np.ndarray]) -> None:
    top = max(1.0, *(float(np.percentile(each, 99.5)) for each in maps.values()))
    for axes, (title, values) in zip(panels, maps.items(), strict=True):
        shown = axes.imshow(values, cmap="magma", vmin=0, vmax=top)
        bare(axes)
        axes.set_title(title, fontsize=8, loc="center")
    figure.colorbar(shown, ax=list(panels), shrink=0.7, label="8-bit levels")


def _picture(axes: Axes, pixels: np.ndarray, title: str) -> None:
    axes.imshow(pixels)
    bare(axes)
    axes.set_title(title, fontsize=8, loc="center")


def compared_rows(gallery: Gallery) -> tuple[str, ...]:
    """Bicubic, FSR and, of the gallery's trained methods of others, one row of each of the first two."""
    rivals: dict[str, str] = {}
    for name in gallery.rows:
        if gallery.labels[name].trained:
            rivals.setdefault(gallery.labels[name].rival, name)
    first = [name for name in (BICUBIC, FSR) if name in gallery.rows]
    return (*first, *list(rivals.values())[:MOST_RIVALS])


def draw_compared(path: Path, gallery: Gallery, set_name: str, told: Mapping[str, Mapping[str, str]]) -> None:
    """A line per image, a column per row of `compared_rows`.

    Args:
        told: {image: {row: what stands below its picture}}.
    """
    rows, width = compared_rows(gallery), 2.6
    pictures = {image: [gallery.thumbnail(set_name, row, image) for row in rows] for image in told}
    heights = [width * shown[0].shape[0] / shown[0].shape[1] for shown in pictures.values()]
    with drawing(path, width * len(rows) + 0.3, sum(heights) + 0.35 * len(told) + 0.4) as figure:
        panels = figure.subplots(len(told), len(rows), squeeze=False, height_ratios=heights)
        for line, (image, below) in zip(panels, told.items(), strict=True):
            for axes, row, pixels in zip(line, rows, pictures[image], strict=True):
                axes.imshow(pixels)
                bare(axes)
                axes.set_xlabel(below.get(row, ""), fontsize=7.5)
            line[0].set_ylabel(image, fontsize=7.5)
        label_axes(panels[0], [gallery.labels[row].label for row in rows])
