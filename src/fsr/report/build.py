"""The report of one experiment: tables, figures and the page, from the files of the stages before it."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fsr.config import Params
from fsr.files import read_json, write_text
from fsr.report import tables
from fsr.report.figures import draw_probe, draw_psnr, draw_training
from fsr.report.mosaics import draw_contact_sheet, draw_zooms
from fsr.report.names import BASE, FSR
from fsr.report.page import PIXELS, Content, Figure, render_page
from fsr.report.pictures import Gallery, extremes, shown, windows
from fsr.report.run import cost_line, cut_and_note, runtime_sheet
from fsr.report.sheets import (
    BENCHMARK_LEGEND,
    DIFFERENCES_LEGEND,
    PROBE_LEGEND,
    Sheets,
    benchmark_sheets,
    difference_sheets,
    markdown,
    probe_sheet,
)


@dataclass(frozen=True)
class ReportInputs:
    """The files the report reads; `benchmarks` is a CSV per set, in the order to show them."""

    benchmarks: tuple[Path, ...]
    pictures: Path  # folder of <set>/<row>/<image>.png
    probe: Path
    probe_runtime: Path
    probe_grid: Path
    selected_cut: Path
    train_log: Path
    train_grid: Path
    train_runtime: Path


def build_report(params: Params, results: ReportInputs, output: Path) -> None:
    """Write tables/*.csv and *.md, figures/*.png and index.html below `output`.

    Tables and figures are the same bytes for the same inputs; only the page tells what the run cost on its machine.

    Raises:
        ValueError: an input has not the form the stage before writes, or the gallery lacks the rows that are compared.
        FileNotFoundError: an input is missing.
    """
    missing = [row for row in (BASE, FSR) if row not in params.report.gallery]
    if missing:
        raise ValueError(f"the page compares {BASE} with {FSR}; add {', '.join(missing)} to report.gallery")
    gallery = Gallery(results.pictures, tuple(params.report.gallery), params.scale)
    cells, probe = tables.read_cells(results.benchmarks), read_probe(results.probe)
    resampling = params.benchmark.bootstrap, params.seed
    summary, differences = tables.summarise(cells, *resampling), tables.difference_frame(cells, *resampling)
    sheets = Sheets(benchmark_sheets(summary), difference_sheets(differences), probe_sheet(probe))
    write_tables(cells, summary, differences, sheets, output / "tables")
    gains, figures = tables.gains(cells), output / "figures"
    images = shown(gains)
    content = Content(
        params.experiment,
        params.scale,
        *cut_and_note(params, read_json(results.selected_cut), probe),
        cost_line(read_json(results.train_runtime)),
        sheets,
        runtime_sheet(pd.read_csv(results.probe_runtime), probe),
        draw_charts(params, results, summary, probe, figures),
        draw_extremes(params, gallery, gains, figures),
        draw_contact_sheets(gallery, images, figures),
        gallery,
        images,
        len(gains),
    )
    write_text(output / "index.html", render_page(content))


def read_probe(path: Path) -> pd.DataFrame:
    """probe.csv, its texts as text and its numbers as floats, NaN where empty."""
    return pd.read_csv(path).fillna({"reason": "", "stage": ""})


def write_tables(
    cells: pd.DataFrame, summary: pd.DataFrame, differences: pd.DataFrame, sheets: Sheets, folder: Path
) -> None:
    """benchmark, differences and per_image as CSV; benchmark, differences and probe as Markdown."""
    tables.write_csv(folder / "benchmark.csv", tables.benchmark_frame(summary))
    tables.write_csv(folder / "differences.csv", differences)
    tables.write_csv(folder / "per_image.csv", tables.per_image_frame(cells))
    write_text(folder / "benchmark.md", markdown(sheets.benchmark, BENCHMARK_LEGEND))
    write_text(folder / "differences.md", markdown(sheets.differences, DIFFERENCES_LEGEND))
    write_text(folder / "probe.md", markdown([sheets.probe], PROBE_LEGEND))


def draw_charts(
    params: Params, results: ReportInputs, summary: pd.DataFrame, probe: pd.DataFrame, folder: Path
) -> dict[str, Figure]:
    """psnr.png, training.png and probe.png, and the grids that the probe and training drew."""
    draw_psnr(folder / "psnr.png", summary)
    draw_training(folder / "training.png", pd.read_csv(results.train_log))
    draw_probe(folder / "probe.png", probe, params.probe.weights if params.probe.score == "absolute" else None)
    return {
        "psnr": Figure(
            folder / "psnr.png",
            "Dot plot of the mean PSNR of every row, a panel per set; the numbers stand in the tables below",
            "Mean PSNR against the VAE reconstruction with 95 % bootstrap intervals over images; protocol "
            f"{params.benchmark.protocol}. Hollow dots are diagnostics.",
        ),
        "training": Figure(
            folder / "training.png",
            "Curves of validation PSNR, loss and its terms over optimiser steps",
            "Light lines are single steps, dark lines their running median; validation is on held-out crops.",
        ),
        "probe": Figure(
            folder / "probe.png",
            "Bars of the terms of each cut's score; the numbers stand in the table above",
            "Score of each cut with its 95 % bootstrap interval over crops, and the weighted terms it is made of.",
        ),
        "probe_grid": Figure(
            results.probe_grid,
            "Grid of pictures, the cuts compared",
            "Pictures the probe rendered at each cut.",
            PIXELS,
        ),
        "validation": Figure(
            results.train_grid,
            "Grid of held-out crops, a row each",
            "Held-out crops after training: decoded low resolution, enlarged; feature bicubic; FSR; reconstruction.",
            PIXELS,
        ),
    }


def draw_extremes(params: Params, gallery: Gallery, gains: pd.DataFrame, folder: Path) -> Figure:
    """zooms.png: the windows of all test images where FSR gains most and least."""
    size = params.report.zoom_size
    largest, least = extremes(list(windows(gallery, gains, size)), params.report.zooms)
    draw_zooms(folder / "zooms.png", gallery, largest, least)
    return Figure(
        folder / "zooms.png",
        f"Zoomed windows as every row renders them, {len(largest)} of largest and {len(least)} of least gain",
        f"Chosen by rule: of all {size}-pixel windows of all test images, those where FSR lowers the squared error of "
        "feature bicubic (against the VAE reconstruction) most, and those where it lowers it least or raises it. Below "
        "each: PSNR there.",
    )


def draw_contact_sheets(gallery: Gallery, images: pd.DataFrame, folder: Path) -> list[Figure]:
    """contact_sheet_<set>.png of the images shown."""
    figures = []
    for name, part in images.groupby("set", sort=False):
        path = folder / f"contact_sheet_{name}.png"
        draw_contact_sheet(path, gallery, part)
        text = (
            f"{name}: every row of the gallery, downscaled, from FSR's largest gain over feature bicubic to its least."
        )
        figures.append(Figure(path, f"Contact sheet of {name}, {len(part)} images", text))
    return figures
