"""Figures made of the benchmark's pictures: contact sheets and zoomed windows."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes

from fsr.metrics.fidelity import psnr
from fsr.report.names import CEILING, HR, LR
from fsr.report.pictures import Gallery, Window
from fsr.report.sheets import number
from fsr.report.style import GREEN, GREY, VERMILION, bare, drawing


def draw_contact_sheet(path: Path, gallery: Gallery, images: pd.DataFrame) -> None:
    """A line per image (columns set, image, gain), labelled with FSR's gain in dB, a column per gallery row."""
    size = 1.3
    with drawing(path, size * len(gallery.rows) + 0.3, 0.78 * size * len(images) + 0.4) as figure:
        panels = figure.subplots(len(images), len(gallery.rows), squeeze=False)
        for line, place in zip(panels, images.itertuples(), strict=True):
            for axes, row in zip(line, gallery.rows, strict=True):
                axes.imshow(gallery.thumbnail(place.set, row, place.image))
                bare(axes)
            _label(line[0], f"{place.image}\n{number(place.gain, 2, signed=True)} dB", place.gain)
        _head(panels[0], gallery)


def draw_notice(path: Path, title: str, text: str) -> None:
    """A plain picture that says something in place of pictures."""
    lines = textwrap.wrap(text, 90)
    with drawing(path, 6.5, 0.7 + 0.16 * len(lines)) as figure:
        figure.text(0.03, 0.95, title, va="top", fontweight="bold")
        figure.text(0.03, 0.95, "\n\n" + "\n".join(lines), va="top", color=GREY)


def draw_zooms(path: Path, gallery: Gallery, largest: Sequence[Window], least: Sequence[Window]) -> None:
    """A line per window, a column per gallery row, and under each picture its PSNR there against x_H_rec in dB."""
    lines = [("largest gain", window) for window in largest] + [("least gain", window) for window in least]
    with drawing(path, 1.5 * len(gallery.rows) + 0.4, 1.75 * len(lines) + 0.3) as figure:
        panels = figure.subplots(len(lines), len(gallery.rows), squeeze=False)
        for line, (extreme, window) in zip(panels, lines, strict=True):
            _draw_window(line, gallery, window)
            _label(line[0], f"{extreme}\n{window.set} {window.image}\nx {window.left}, y {window.top}", window.gain)
        _head(panels[0], gallery)


def window_row(line: Sequence[Axes], gallery: Gallery, window: Window) -> None:
    """Draw a window as every gallery row renders it, named above, with its PSNR below."""
    _draw_window(line, gallery, window)
    _head(line, gallery)


def _draw_window(line: Sequence[Axes], gallery: Gallery, window: Window) -> None:
    target = window.of(gallery.pixels(window.set, CEILING, window.image))
    for axes, row in zip(line, gallery.rows, strict=True):
        pixels = window.of(gallery.pixels(window.set, row, window.image))
        axes.imshow(pixels, interpolation="nearest")
        bare(axes)
        if row not in (LR, HR, CEILING):
            axes.set_xlabel(f"{number(_psnr(pixels, target), 2)} dB", fontsize=7.5)


def _psnr(pixels: np.ndarray, target: np.ndarray) -> float:
    return psnr(torch.from_numpy(pixels), torch.from_numpy(target))


def _label(axes: Axes, text: str, gain: float) -> None:
    axes.set_ylabel(text, fontsize=7.5, color=GREEN if gain > 0 else VERMILION)


def _head(line: Sequence[Axes], gallery: Gallery) -> None:
    label_axes(line, [gallery.labels[row].label for row in gallery.rows])


def label_axes(line: Sequence[Axes], labels: Sequence[str]) -> None:
    """Name the columns above their first pictures; long names stand on two lines."""
    for axes, label in zip(line, labels, strict=True):
        axes.set_title(label.replace(", ", ",\n", 1), fontsize=8, loc="center")
