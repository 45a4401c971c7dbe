"""What was measured of paired images: the prototype's primary table, every number by set, and the diagnostics."""

from collections.abc import Mapping

import pandas as pd

from fsr.report.columns import PLACE
from fsr.report.names import METRICS, PERCEPTUAL, PRIMARY, Rows
from fsr.report.sheets import (
    BOLD,
    EMPTY,
    Cell,
    Chapter,
    Sheet,
    by_place,
    caption,
    interval,
    labels_of,
    mean_cell,
    mean_cells,
    number,
    where,
)
from fsr.report.tables import benchmark_frame

LEGEND = (
    "Means over images; brackets hold 95 % bootstrap intervals over images, which are too narrow where images are few. "
    f"{BOLD} The VAE round trip is the ceiling of whatever renders through this autoencoder."
)
BENCHMARK_TEXT = f"Every metric of every row, by set. {LEGEND} Euler, Heun, stochastic and noised rows are diagnostics."
PRIMARY_TEXT = f"Against x_H_rec, the VAE reconstruction, which FSR is trained towards. {LEGEND}"
DIAGNOSTICS_TEXT = (
    "Other ways to solve for the same feature, and latents with noise: checks, not methods. Against x_H_rec; "
    "differences are paired by image, with 95 % bootstrap intervals, and bold where the interval excludes zero in the "
    "row's favour."
)
NO_DIAGNOSTICS = "No diagnostic row was measured; benchmark.upscalers names none."


def benchmark_chapter(
    summary: pd.DataFrame, absent: pd.DataFrame, rows: Rows, labels: Mapping[str, str], remarks: tuple[str, ...] = ()
) -> Chapter:
    """One sheet per scale, target, protocol and set: rows are upscalers, columns the metrics measured there.

    Args:
        absent: the sets that are not available, as `Benchmark` has them.
        labels: {set: what captions call it}.
    """
    sheets = tuple(_benchmark_sheet(part, rows, labels) for part in by_place(summary))
    return Chapter(BENCHMARK_TEXT, sheets, remarks, frame=benchmark_frame(summary, absent))


def _benchmark_sheet(part: pd.DataFrame, rows: Rows, labels: Mapping[str, str]) -> Sheet:
    metrics = [metric for metric in METRICS if metric in set(part["metric"])]
    lines = part.set_index(["upscaler", "metric"], drop=False)
    cells = [
        (Cell(rows[upscaler].label), *(mean_cell(lines.loc[(upscaler, metric)]) for metric in metrics))
        for upscaler in part["upscaler"].unique()
    ]
    return Sheet(caption("Means over images", part, labels), ("upscaler", *labels_of(metrics)), tuple(cells))


def primary_chapter(
    summary: pd.DataFrame, rows: Rows, labels: Mapping[str, str], remarks: tuple[str, ...] = ()
) -> Chapter:
    """One sheet per scale and protocol over all sets: PSNR, SSIM, L1 and perceptual metrics of methods and ceiling.

    Args:
        labels: {set: what the sheet calls it}.
    """
    shown = [name for name in summary["upscaler"].unique() if rows[name].kind in ("method", "ceiling")]
    part = summary[(summary["target"] == PRIMARY) & summary["upscaler"].isin(shown)]
    perceptual = [name for name in PERCEPTUAL if part.loc[part["metric"] == name, "mean"].notna().any()]
    metrics = ["psnr", "ssim", "rgb_l1", *perceptual]
    part = part[part["metric"].isin(metrics)]
    sheets = []
    for here in by_place(part, ("scale", "protocol")):
        cells = [
            (
                Cell(labels[name]),
                Cell(rows[upscaler].label),
                Cell(str(lines["images"].iloc[0])),
                *mean_cells(lines, metrics),
            )
            for (name, upscaler), lines in here.groupby(["set", "upscaler"], sort=False)
        ]
        columns = ("set", "upscaler", "images", *labels_of(metrics))
        told = f"Primary result: means over images against x_H_rec; {where(*here[['scale', 'protocol']].iloc[0])}"
        sheets.append(Sheet(told, columns, tuple(cells), ("upscaler",)))
    return Chapter(PRIMARY_TEXT, tuple(sheets), remarks, frame=part.reset_index(drop=True))


def diagnostics_chapter(
    summary: pd.DataFrame,
    differences: pd.DataFrame,
    rows: Rows,
    labels: Mapping[str, str],
    published: tuple[Sheet, ...] = (),
) -> Chapter:
    """One sheet per scale and protocol over all sets: each diagnostic, and its PSNR minus that of what it varies.

    Args:
        labels: {set: what the sheet calls it}.
        published: sheets of published diagnostics.
    """
    names = [name for name in summary["upscaler"].unique() if rows[name].kind == "diagnostic"]
    known = (differences["metric"] == "psnr") & (differences["target"] == PRIMARY)
    varied = differences["upscaler"].isin(names) & (
        differences["upscaler"].map(lambda name: rows[name].of) == differences["baseline"]
    )
    frame = differences[known & varied].reset_index(drop=True)
    means = summary[(summary["target"] == PRIMARY) & summary["upscaler"].isin(names)]
    if means.empty:
        return Chapter(NO_DIAGNOSTICS, published, frame=frame)
    sheets = [_diagnostics_sheet(part, frame, rows, labels) for part in by_place(means, ("scale", "protocol"))]
    return Chapter(DIAGNOSTICS_TEXT, (*sheets, *published), frame=frame)


def _diagnostics_sheet(means: pd.DataFrame, frame: pd.DataFrame, rows: Rows, labels: Mapping[str, str]) -> Sheet:
    gaps = {(*line[PLACE], line["upscaler"]): line for _, line in frame.iterrows()}
    cells = []
    for (*place, upscaler), lines in means.groupby([*PLACE, "upscaler"], sort=False):
        told = Cell(labels[place[2]]), Cell(rows[upscaler].label), *mean_cells(lines, ["psnr", "ssim"])
        varied = Cell(rows[rows[upscaler].of].label)
        cells.append((*told, varied, *_gap(gaps.get((*place, upscaler)))))
    columns = ("set", "upscaler", *labels_of(["psnr", "ssim"]), "compared with", "minus it (dB)", "higher on")
    place = where(*means[["scale", "protocol"]].iloc[0])
    return Sheet(f"Diagnostics against x_H_rec; {place}", columns, tuple(cells), ("upscaler", "compared with"))


def _gap(line: pd.Series | None) -> tuple[Cell, Cell]:
    if line is None:
        missing = Cell(EMPTY, footnote="what it is compared with is not among benchmark.upscalers")
        return missing, missing
    return difference_cell(line), Cell(f"{line['wins']}/{line['images']}")


def difference_cell(line: pd.Series, with_interval: bool = True) -> Cell:
    """A PSNR difference in dB: bold where its interval excludes zero in the row's favour."""
    return Cell(
        number(line["difference"], 2, signed=True),
        interval(line["low"], line["high"], 2, signed=True) if with_interval else "",
        bold=bool(line["low"] > 0),
        footnote=line["reason"],
    )
