"""Numbers others published, in sheets of their own: other code and machines, so never beside a measured row."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from fsr.report.names import METRICS, times
from fsr.report.sheets import EMPTY, Cell, Chapter, Sheet

COLUMNS = ("source", "citation", "table", "dataset", "method", "protocol", "metric", "value")
SCALE = 2  # of every number in the table
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
    if SCALE not in scales:
        return Chapter(
            f"The published numbers that are listed are of {times(SCALE)}, which this study does not measure."
        )
    known = [name for name in sets if (published["dataset"] == name).any()]
    if not known:
        return Chapter(f"No published numbers are listed for {', '.join(sets)}.")
    return Chapter(TEXT, tuple(_sheet(name, published[published["dataset"] == name]) for name in known))


def _sheet(name: str, part: pd.DataFrame) -> Sheet:
    found = set(part["metric"])
    metrics = [metric for metric in METRICS if metric in found] + sorted(found - set(METRICS))
    rows = []
    for (source, citation, method, protocol), lines in part.groupby(ROW, sort=False):
        values = dict(zip(lines["metric"], lines["value"], strict=True))
        cells = [Cell(values.get(m, EMPTY), footnote="" if m in values else "not listed") for m in metrics]
        rows.append((Cell(source, footnote=citation), Cell(method), Cell(protocol), *cells))
    labels = [METRICS[metric].label if metric in METRICS else metric.replace("_", " ") for metric in metrics]
    columns = ("source", "method", "protocol", *labels)
    return Sheet(f"Published numbers, not measured here: {name}", columns, tuple(rows), ("method", "protocol"))
