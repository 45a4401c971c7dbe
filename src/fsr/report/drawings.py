"""The report's figures, drawn and captioned."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from fsr.config import Params
from fsr.report.figures import draw_probe, draw_psnr, draw_training
from fsr.report.mosaics import draw_contact_sheet, draw_notice, draw_zooms
from fsr.report.page import PIXELS, Figure
from fsr.report.pictures import Gallery, extremes, windows


def psnr_chart(path: Path, summary: pd.DataFrame, labels: Mapping[str, str]) -> Figure:
    """psnr.png of a summary under one protocol; `labels` is {set: what its panel calls it}."""
    draw_psnr(path, summary, labels)
    return Figure(
        path,
        "Dot plot of the mean PSNR of every row, a panel per set; the numbers stand in the tables below",
        "Mean PSNR against the VAE reconstruction with 95 % bootstrap intervals over images; protocol "
        f"{summary['protocol'].iloc[0]}. Hollow dots are diagnostics.",
    )


def training_chart(path: Path, log: Path) -> Figure:
    """training.png of a training log."""
    draw_training(path, pd.read_csv(log))
    return Figure(
        path,
        "Curves of validation PSNR, loss and its terms over optimiser steps",
        "Light lines are single steps, dark lines their running median; validation is on held-out crops.",
    )


def probe_chart(path: Path, probe: pd.DataFrame, params: Params) -> Figure:
    """probe.png of the probe's table."""
    draw_probe(path, probe, params.probe.weights if params.probe.score == "absolute" else None)
    return Figure(
        path,
        "Bars of the terms of each cut's score; the numbers stand in the table above",
        "Score of each cut with its 95 % bootstrap interval over crops, and the weighted terms it is made of.",
    )


def probe_grid(path: Path) -> Figure:
    """The pictures the probe drew."""
    return Figure(path, "Grid of pictures, the cuts compared", "Pictures the probe rendered at each cut.", PIXELS)


def validation_grid(path: Path) -> Figure:
    """The pictures training drew."""
    return Figure(
        path,
        "Grid of held-out crops, a row each",
        "Held-out crops after training: decoded low resolution, enlarged; feature bicubic; FSR; reconstruction.",
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
    """zooms.png: the windows of all test images where FSR gains most and least."""
    size = params.report.zoom_size
    largest, least = extremes(list(windows(gallery, gains, size)), params.report.zooms)
    draw_zooms(path, gallery, largest, least)
    return Figure(
        path,
        f"Zoomed windows as every row renders them, {len(largest)} of largest and {len(least)} of least gain",
        f"Chosen by rule: of all {size}-pixel windows of all test images, those where FSR lowers the squared error of "
        "feature bicubic (against the VAE reconstruction) most, and those where it lowers it least or raises it. Below "
        f"each: PSNR there, of the 8-bit pictures under protocol {params.benchmark.protocols[0]}.",
    )


def contact_sheets(
    folder: Path, gallery: Gallery, images: pd.DataFrame, labels: Mapping[str, str], unavailable: Mapping[str, str]
) -> list[Figure]:
    """contact_sheet_<set>.png of the images shown; of a set that is not available, a notice that is no figure."""
    figures = []
    for name, part in images.groupby("set", sort=False):
        path = folder / f"contact_sheet_{name}.png"
        draw_contact_sheet(path, gallery, part)
        text = (
            f"{labels[name]}: every row of the gallery, downscaled, from FSR's largest gain over feature bicubic to "
            "its least."
        )
        figures.append(Figure(path, f"Contact sheet of {name}, {len(part)} images", text))
    for name, reason in unavailable.items():
        draw_notice(folder / f"contact_sheet_{name}.png", f"{name}: not available", reason)
    return figures
