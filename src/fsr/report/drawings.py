"""The report's figures, drawn and captioned."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from fsr.config import Params
from fsr.report.figures import draw_probe, draw_psnr, draw_training
from fsr.report.mosaics import draw_contact_sheet, draw_notice, draw_zooms
from fsr.report.names import times
from fsr.report.page import PIXELS, Figure
from fsr.report.pictures import Gallery, extremes, windows


def psnr_chart(path: Path, summary: pd.DataFrame, labels: Mapping[str, str]) -> Figure:
    """The chart of a summary at one scale under one protocol; `labels` is {set: what its panel calls it}."""
    draw_psnr(path, summary, labels)
    first = summary.iloc[0]
    return Figure(
        path,
        "Dot plot of the mean PSNR of every row, a panel per set; the numbers stand in the tables below",
        "Mean PSNR against the VAE reconstruction with 95 % bootstrap intervals over images; "
        f"{times(first['scale'])}, protocol {first['protocol']}. Hollow dots are diagnostics.",
    )


def training_chart(path: Path, log: Path) -> Figure:
    """training.png of a training log."""
    draw_training(path, pd.read_csv(log))
    return Figure(
        path,
        "Curves of validation, loss and its terms over optimiser steps",
        "Light lines are single steps, dark lines their running median. Green is validation, on held-out crops: of one "
        "step, and by how much four steps are better.",
    )


def probe_chart(path: Path, probe: pd.DataFrame, params: Params) -> Figure:
    """probe.png of the probe's table."""
    draw_probe(path, probe, params.probe.weights if params.probe.score == "absolute" else None)
    return Figure(
        path,
        "Bars of the terms of each cut's score; the numbers stand in the table above",
        "Score of each cut with its 95 % bootstrap interval over crops, and the weighted terms it is made of.",
    )


def probe_grid(path: Path, scale: int) -> Figure:
    """The pictures the probe drew, which are of one scale."""
    text = f"Pictures the probe rendered at each cut, {times(scale)}."
    return Figure(path, "Grid of pictures, the cuts compared", text, PIXELS)


def validation_grid(path: Path, scale: int) -> Figure:
    """The pictures training drew, which are of one scale."""
    return Figure(
        path,
        "Grid of held-out crops, a row each",
        f"Held-out crops after training, {times(scale)}: decoded low resolution, enlarged; feature bicubic; FSR; "
        "reconstruction.",
        PIXELS,
    )


def leakage_grid(path: Path) -> Figure:
    """The pictures the leakage check drew."""
    return Figure(
        path,
        "Pairs of pictures: a training image and the test image it shows",
        "Matches, at most a dozen: the training image with the region outlined, the test image, and the region laid "
        "over its frame.",
        PIXELS,
    )


def zooms(path: Path, gallery: Gallery, gains: pd.DataFrame, params: Params) -> Figure:
    """The windows of all test images of a gallery's scale where FSR gains most and least."""
    size = params.report.zoom_size
    largest, least = extremes(list(windows(gallery, gains, size)), params.report.zooms)
    draw_zooms(path, gallery, largest, least)
    return Figure(
        path,
        f"Zoomed windows as every row renders them, {len(largest)} of largest and {len(least)} of least gain",
        f"Chosen by rule: of all {size}-pixel windows of all test images, those where FSR lowers the squared error of "
        "feature bicubic (against the VAE reconstruction) most, and those where it lowers it least or raises it. Below "
        f"each: PSNR there, of the 8-bit pictures at {times(gallery.scale)} under protocol "
        f"{params.benchmark.protocols[0]}.",
    )


def contact_sheets(
    paths: Mapping[str, Path],
    gallery: Gallery,
    images: pd.DataFrame,
    labels: Mapping[str, str],
    unavailable: Mapping[str, str],
) -> list[Figure]:
    """A sheet per set of the images shown; of a set that is not available, a notice that is no figure.

    Args:
        paths: {set: where its sheet goes}.
    """
    figures = []
    for name, part in images.groupby("set", sort=False):
        draw_contact_sheet(paths[name], gallery, part)
        text = (
            f"{labels[name]}, {times(gallery.scale)}: every row of the gallery, downscaled, from FSR's largest gain "
            "over feature bicubic to its least."
        )
        alt = f"Contact sheet of {name} at {times(gallery.scale)}, {len(part)} images"
        figures.append(Figure(paths[name], alt, text))
    for name, reason in unavailable.items():
        draw_notice(paths[name], f"{name}: not available", reason)
    return figures
