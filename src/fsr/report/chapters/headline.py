"""What stands first: a line per row, PSNR on every set against both targets."""

from collections.abc import Mapping

import pandas as pd

from fsr.report.names import HR, PRIMARY, Rows
from fsr.report.sheets import BOLD, EMPTY, Cell, Chapter, Sheet, by_place, mean_cell, where

TARGETS = {PRIMARY: "x_H_rec", HR: "HR"}
TEXT = (
    "Mean PSNR in dB on each set, against the VAE reconstruction (x_H_rec) and against the raw image (HR). "
    f"{BOLD} The VAE round trip is the ceiling of whatever renders through this autoencoder."
)


def headline_chapter(summary: pd.DataFrame, rows: Rows, labels: Mapping[str, str]) -> Chapter:
    """One sheet per scale and protocol: methods and ceiling.

    Args:
        labels: {set: what columns call it}.
    """
    shown = [name for name in summary["upscaler"].unique() if rows[name].kind in ("method", "ceiling")]
    wanted = (summary["metric"] == "psnr") & summary["target"].isin(TARGETS) & summary["upscaler"].isin(shown)
    part = summary[wanted].reset_index(drop=True)
    sheets = [_sheet(here, rows, labels) for here in by_place(part, ("scale", "protocol"))]
    return Chapter(TEXT, tuple(sheets), frame=part)


def _sheet(part: pd.DataFrame, rows: Rows, labels: Mapping[str, str]) -> Sheet:
    places = [(name, target) for name in part["set"].unique() for target in TARGETS]
    cells = {(line["upscaler"], line["set"], line["target"]): mean_cell(line, False) for _, line in part.iterrows()}
    body = [
        (Cell(rows[name].label), *(cells.get((name, *place), Cell(EMPTY, footnote="not measured")) for place in places))
        for name in part["upscaler"].unique()
    ]
    columns = ("upscaler", *(f"{labels[name]} vs {TARGETS[target]}" for name, target in places))
    return Sheet(f"PSNR (dB); {where(*part[['scale', 'protocol']].iloc[0])}", columns, tuple(body))
