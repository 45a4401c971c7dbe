"""Rows against the raw high-resolution image, and in columns of their own what others published of it."""

from collections.abc import Mapping, Sequence

import pandas as pd

from fsr.report.names import HR, METRICS, Rows
from fsr.report.published import SCALE, method_name
from fsr.report.sheets import BOLD, EMPTY, Cell, Chapter, Sheet, by_place, mean_cell, where

METRIC_TABLES = {"psnr": "contextual", "ssim": "contextual", "psnr_y": "pixel", "ssim_y": "pixel"}
PUBLISHED_METRIC = {"psnr_y": "psnr", "ssim_y": "ssim"}  # a table of pixel methods is of luma throughout
TEXT = (
    f"Against the raw high-resolution image. {BOLD} Columns headed 'published' hold what their sources print: other "
    "code, crops, borders and often another autoencoder made those numbers, so they are context and no comparison."
)


def contextual_chapter(
    summary: pd.DataFrame, published: pd.DataFrame, rows: Rows, labels: Mapping[str, str]
) -> Chapter:
    """A sheet per scale, protocol and metric: a line per set, measured rows in columns, then published ones.

    Args:
        published: as `read_published` has it.
        labels: {set: what the sheet calls it}.
    """
    shown = [name for name in summary["upscaler"].unique() if rows[name].kind in ("method", "ceiling")]
    part = summary[(summary["target"] == HR) & summary["metric"].isin(METRIC_TABLES) & summary["upscaler"].isin(shown)]
    sheets = []
    for here in by_place(part, ("scale", "protocol")):
        told = where(*here[["scale", "protocol"]].iloc[0])
        beside = published if here["scale"].iloc[0] == SCALE else published[:0]
        for metric in METRIC_TABLES:
            lines = here[here["metric"] == metric]
            if len(lines):
                sheets.append(_sheet(lines, beside, metric, rows, labels, told))
    return Chapter(TEXT, tuple(sheets), frame=_frame(part, published))


def _sheet(
    lines: pd.DataFrame, published: pd.DataFrame, metric: str, rows: Rows, labels: Mapping[str, str], told: str
) -> Sheet:
    upscalers = list(lines["upscaler"].unique())
    theirs = _published(published, metric, list(lines["set"].unique()))
    methods = list(theirs["method"].unique())
    body = []
    for name, part in lines.groupby("set", sort=False):
        means = {line["upscaler"]: line for _, line in part.iterrows()}
        of_set = theirs[theirs["dataset"] == name]
        numbers = [mean_cell(means[upscaler], with_interval=False) for upscaler in upscalers if upscaler in means]
        body.append((Cell(labels[name]), *numbers, *(_cited(of_set, method) for method in methods)))
    columns = (
        "set",
        *(rows[name].label for name in upscalers),
        *(f"published: {method_name(name)}" for name in methods),
    )
    return Sheet(f"{METRICS[metric].label} against the raw high-resolution image; {told}", columns, tuple(body))


def _published(published: pd.DataFrame, metric: str, sets: Sequence[str]) -> pd.DataFrame:
    known = (published["table"] == METRIC_TABLES[metric]) & published["dataset"].isin(sets)
    return published[known & (published["metric"] == PUBLISHED_METRIC.get(metric, metric))]


def _cited(of_set: pd.DataFrame, method: str) -> Cell:
    found = of_set[of_set["method"] == method]
    if found.empty:
        return Cell(EMPTY, footnote="not listed")
    line = found.iloc[0]
    return Cell(line["value"], footnote=f"{line['protocol']}; {line['source']}, {line['citation']}")


def _frame(part: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Measured lines, then the published ones beside them; `source` tells them apart."""
    measured = part.drop(columns="best").assign(source="measured")
    tables = published["table"].isin(METRIC_TABLES.values()) & published["dataset"].isin(part["set"])
    theirs = published.loc[tables & (SCALE in set(part["scale"]))]
    columns = {"dataset": "set", "method": "upscaler", "value": "mean"}
    theirs = theirs.rename(columns=columns).assign(scale=SCALE, target=HR, mean=pd.to_numeric(theirs["value"]))
    return pd.concat([measured, theirs.drop(columns="table")], ignore_index=True) if len(theirs) else measured
