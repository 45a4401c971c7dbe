"""Numbers others published, in sheets of their own: other code and machines, so never beside a measured row."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from fsr.report.names import METRICS, times
from fsr.report.sheets import EMPTY, Cell, Chapter, Sheet

COLUMNS = ("source", "citation", "table", "dataset", "method", "protocol", "metric", "value")
SCALE = 2  # of every number in the table
METHODS = {"rf_1step": "FSR prototype", "rf_4step": "FSR prototype, four steps", "rf": "FSR prototype", "lua": "LUA",
           "lsrna": "LSRNA", "imdn": "IMDN", "swinir_df2k": "SwinIR"}  # fmt: skip
ROW = ["source", "citation", "method", "protocol"]
TEXT = (
    f"As their sources print them, at {times(SCALE)} and under the protocol each row names. Other code, other crops "
    "and often another autoencoder made them: a measured row may be read beside one of them only where all of that is "
    "the same."
)


def read_published(path: Path) -> pd.DataFrame:
    """The table, as text: `value` keeps the digits its source printed.

    Raises:
        FileNotFoundError: it is missing.
        ValueError: other columns, an empty field, a value that is no number, or a number given twice.
    """
    published = pd.read_csv(path, dtype=str, keep_default_na=False)
    if tuple(published.columns) != COLUMNS:
        raise ValueError(f"{path} must have the columns {', '.join(COLUMNS)}")
    numbers = pd.to_numeric(published["value"], errors="coerce")
    wrong = published[(published == "").any(axis=1) | numbers.isna()]
    if len(wrong):
        raise ValueError(f"line {wrong.index[0] + 2} of {path} has an empty field or a value that is no number; fix it")
    twice = published[published.duplicated([*ROW, "dataset", "metric"])]
    if len(twice):
        raise ValueError(f"line {twice.index[0] + 2} of {path} gives a number that stands there already; remove one")
    return published


def published_chapter(published: pd.DataFrame, sets: Sequence[str], scales: Sequence[int]) -> Chapter:
    """A sheet for each of `sets` that has a published number; rows in the table's order, columns the metrics.

    A study that does not measure the scale the numbers are of has none.
    """
    frame = published[published["dataset"].isin(sets)].reset_index(drop=True)
    if SCALE not in scales:
        return Chapter(
            f"The published numbers that are listed are of {times(SCALE)}, which this study does not measure.",
            frame=frame[:0],
        )
    known = [name for name in sets if (published["dataset"] == name).any()]
    if not known:
        return Chapter(f"No published numbers are listed for {', '.join(sets)}.", frame=frame)
    return Chapter(TEXT, tuple(_sheet(name, published[published["dataset"] == name]) for name in known), frame=frame)


def _sheet(name: str, part: pd.DataFrame) -> Sheet:
    found = set(part["metric"])
    metrics = [metric for metric in METRICS if metric in found] + sorted(found - set(METRICS))
    rows = []
    for (source, citation, method, protocol), lines in part.groupby(ROW, sort=False):
        values = dict(zip(lines["metric"], lines["value"], strict=True))
        cells = [Cell(values.get(m, EMPTY), footnote="" if m in values else "not listed") for m in metrics]
        rows.append((Cell(source, footnote=citation), Cell(method_name(method)), Cell(protocol), *cells))
    columns = ("source", "method", "protocol", *map(_metric_label, metrics))
    return Sheet(f"Published numbers, not measured here: {name}", columns, tuple(rows), ("method", "protocol"))


def method_name(method: str) -> str:
    """What readers call a published method."""
    return METHODS.get(method, method.replace("_", " "))


def published_sheets(published: pd.DataFrame, table: str, scales: Sequence[int]) -> tuple[Sheet, ...]:
    """The sheet of one of the sources' tables (column `table`), whatever its images; none at scales it is not of."""
    part = published[published["table"] == table]
    if SCALE not in scales or part.empty:
        return ()
    metrics = list(dict.fromkeys(part["metric"]))
    body = []
    for (source, citation, method, protocol, dataset), lines in part.groupby([*ROW, "dataset"], sort=False):
        values = dict(zip(lines["metric"], lines["value"], strict=True))
        cells = [Cell(values.get(m, EMPTY), footnote="" if m in values else "not listed") for m in metrics]
        told = Cell(source, footnote=citation), Cell(method_name(method)), Cell(dataset), Cell(protocol)
        body.append((*told, *cells))
    columns = ("source", "method", "images", "protocol", *map(_metric_label, metrics))
    caption = f"Published, not measured here, at {times(SCALE)}: {table.replace('_', ' ')}"
    return (Sheet(caption, columns, tuple(body), ("method", "images", "protocol")),)


def _metric_label(metric: str) -> str:
    return METRICS[metric].label if metric in METRICS else metric.replace("_", " ")
