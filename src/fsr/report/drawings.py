"""The report's figures, drawn and captioned."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from fsr.config import Params
from fsr.report.charts import draw_runtime, draw_training_cost, hours_of, published_hours
from fsr.report.figures import draw_probe, draw_psnr, draw_training
from fsr.report.inputs import Found, ReportInputs
from fsr.report.mosaics import draw_contact_sheet, draw_notice, draw_zooms
from fsr.report.names import Rows, times
from fsr.report.page import PIXELS, AtScale, Figure
from fsr.report.pictures import Gallery, Window, extremes, shown, windows
from fsr.report.strips import draw_representative, draw_trend
from fsr.report.visual import compared


def draw_all(
    params: Params, results: ReportInputs, found: Found, summary: pd.DataFrame, gains: pd.DataFrame, output: Path
) -> tuple[dict[str, Figure], list[AtScale]]:
    """Every figure, below figures/ and machine/ of `output`: those of one stage by name, and those of each scale.

    Args:
        summary, gains: of `tables.summarise` and `tables.gains`.
    """
    folder = output / "figures"
    figures = {
        "training": training_chart(folder / "training.png", results.train_log),
        "probe": probe_chart(folder / "probe.png", found.probe, params),
        "probe_grid": probe_grid(results.probe_grid, params.scales[0]),
        "validation": validation_grid(results.train_grid, params.scales[0]),
        "runtime": runtime_chart(output / "machine/runtime.png", found.runtime, found.rows),
        "training_cost": training_cost_chart(output / "machine/training_cost.png", found),
    }
    if found.leakage.matches:
        figures["leakage"] = leakage_grid(results.leakage_grid)
    return figures, [draw_scale(params, results, found, summary, gains, scale, folder) for scale in params.scales]


def draw_scale(
    params: Params,
    results: ReportInputs,
    found: Found,
    summary: pd.DataFrame,
    gains: pd.DataFrame,
    scale: int,
    folder: Path,
) -> AtScale:
    """The figures of one scale; at all but the first scale their names end in _x<scale>."""
    suffix, protocol = "" if scale == params.scales[0] else f"_x{scale}", params.benchmark.protocols[0]
    gallery = Gallery(results.pictures / f"x{scale}", tuple(params.report.gallery), scale, found.rows)
    gains = gains[gains["scale"] == scale]
    images = shown(gains)
    here = (summary["scale"] == scale) & (summary["protocol"] == protocol)
    candidates = list(windows(gallery, gains, params.report.zoom_size))
    sheets = {name: folder / f"contact_sheet_{name}{suffix}.png" for name in found.benchmark.sets}
    first = gains.iloc[0]
    return AtScale(
        psnr=psnr_chart(folder / f"psnr{suffix}.png", summary[here], found.rows, found.labels),
        representative=representative(folder / f"representative{suffix}.png", gallery, candidates, params),
        trend=trend(folder / f"trend{suffix}.png", gallery, first["set"], first["image"]),
        zooms=zooms(folder / f"zooms{suffix}.png", gallery, candidates, params),
        compared=compared(folder / f"visual_five{suffix}.png", gallery, found, protocol),
        contact_sheets=contact_sheets(sheets, gallery, images, found.labels, found.benchmark.unavailable),
        gallery=gallery,
        images=images,
        total_images=len(gains),
    )


def psnr_chart(path: Path, summary: pd.DataFrame, rows: Rows, labels: Mapping[str, str]) -> Figure:
    """The chart of a summary at one scale under one protocol; `labels` is {set: what its panel calls it}."""
    draw_psnr(path, summary, rows, labels)
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


def runtime_chart(path: Path, runtime: pd.DataFrame, rows: Rows) -> Figure:
    """runtime.png; a notice where nothing was timed."""
    if runtime.empty:
        draw_notice(path, "Runtime", "Nothing was timed; benchmark.runtime.sides is empty.")
    else:
        draw_runtime(path, runtime, rows)
    return Figure(
        path,
        "Bars of each row's stages beside the decode of the VAE round trip; the numbers stand in the tables above",
        "Time of each stage over the decode of the VAE round trip (dotted line) at the same size, on this machine.",
    )


def training_cost_chart(path: Path, found: Found) -> Figure:
    """training_cost.png: measured and published hours, a panel each."""
    draw_training_cost(path, hours_of(found.costs, found.rows), published_hours(found.published_costs))
    return Figure(
        path,
        "Bars of training hours, measured on the left, published on the right; the numbers stand in the tables above",
        "Hours of training on logarithmic axes. Left: this study's runs on its machine. Right: what sources print, on "
        "other machines, data and scopes.",
    )


def representative(path: Path, gallery: Gallery, candidates: Sequence[Window], params: Params) -> Figure:
    """The window of the first set's images where FSR gains most, in one line.

    Args:
        candidates: of `pictures.windows`.
    """
    first = [window for window in candidates if window.set == candidates[0].set]
    (window,), _ = extremes(first, 1)
    draw_representative(path, gallery, window)
    return Figure(
        path,
        f"One {window.size}-pixel window of {window.image} as every row renders it",
        f"Chosen by rule: of all windows of the images of {window.set}, the one where FSR lowers the squared error of "
        f"feature bicubic most ({window.image}, x {window.left}, y {window.top}). Below each: PSNR there, "
        f"{times(gallery.scale)}, protocol {params.benchmark.protocols[0]}.",
    )


def trend(path: Path, gallery: Gallery, set_name: str, image: str) -> Figure:
    """One image through the rows, and what FSR changed."""
    draw_trend(path, gallery, set_name, image)
    return Figure(
        path,
        f"{image} through the rows in the order of FSR's steps, and two maps of absolute differences",
        f"The first image of the first set ({set_name}, {image}), {times(gallery.scale)}: what goes in, plain "
        "enlargements, the feature bicubic FSR starts from, where its step arrives, and what it is to reach. The maps "
        "show, on one scale, what FSR changed of feature bicubic and what there was to change.",
    )


def zooms(path: Path, gallery: Gallery, candidates: Sequence[Window], params: Params) -> Figure:
    """The windows of all test images of a gallery's scale where FSR gains most and least.

    Args:
        candidates: of `pictures.windows`.
    """
    size = params.report.zoom_size
    largest, least = extremes(candidates, params.report.zooms)
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
