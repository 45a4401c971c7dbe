"""Rows trained with several seeds: what of a number is the method's, and what the seed's."""

from collections.abc import Mapping

import pandas as pd

from fsr.report.names import HR, METRICS, PRIMARY, Rows
from fsr.report.sheets import EMPTY, Cell, Chapter, Sheet, by_place, number, where

SHOWN = ((PRIMARY, "psnr"), (HR, "psnr"), (PRIMARY, "st_lpips"))
TEXT = (
    "The same row trained with several seeds: other initial weights, another order of the crops. Means over images; "
    "the spread is the largest minus the smallest. A difference between methods that is not larger says nothing."
)
NONE = "No row was trained with several seeds; benchmark.upscalers names none."
KEYS = ["scale", "protocol", "set"]


def repeats_chapter(summary: pd.DataFrame, rows: Rows, labels: Mapping[str, str]) -> Chapter:
    """One sheet per scale, protocol and set: a line per row that was repeated, a column per number.

    Args:
        summary: of `tables.summarise`.
        labels: {set: what captions call it}.
    """
    frame = repeats_frame(summary, rows)
    if frame.empty:
        return Chapter(NONE, frame=frame)
    return Chapter(TEXT, tuple(_sheet(part, rows, labels) for part in by_place(frame, KEYS)), frame=frame)


def repeats_frame(summary: pd.DataFrame, rows: Rows) -> pd.DataFrame:
    """A line per place, row that was repeated, target and metric: its seeds' means in order, and their spread."""
    first = {name: rows[name].of for name in summary["upscaler"].unique() if rows[name].kind == "repeat"}
    kinds = pd.MultiIndex.from_frame(summary[["target", "metric"]])
    wanted = summary[kinds.isin(SHOWN)]
    named = wanted["upscaler"].isin([*first, *first.values()])
    part = wanted[named].assign(upscaler=wanted["upscaler"].replace(first))
    lines = []
    for place, seeds in part.groupby([*KEYS, "upscaler", "target", "metric"], sort=False):
        means = list(seeds["mean"])
        if len(means) < 2:  # a repeat whose first run was not measured has no spread
            continue
        told = " ".join(f"{mean:.8g}" for mean in means)
        lines.append((*place, len(means), told, sum(means) / len(means), max(means) - min(means)))
    return pd.DataFrame(lines, columns=[*KEYS, "upscaler", "target", "metric", "seeds", "means", "mean", "spread"])


def _sheet(part: pd.DataFrame, rows: Rows, labels: Mapping[str, str]) -> Sheet:
    body = []
    for upscaler, lines in part.groupby("upscaler", sort=False):
        found = {(line.target, line.metric): line for line in lines.itertuples()}
        cells = [cell for key in SHOWN for cell in _cells(found.get(key), key[1])]
        body.append((Cell(rows[upscaler].label), Cell(str(lines["seeds"].iloc[0])), *cells))
    heads = [f"{METRICS[metric].label} vs {target}" for target, metric in SHOWN]
    columns = ("upscaler", "seeds", *(name for head in heads for name in (head, "spread")))
    first = part.iloc[0]
    return Sheet(f"{labels[first['set']]}; {where(first['scale'], first['protocol'])}", columns, tuple(body))


def _cells(line: tuple | None, metric: str) -> tuple[Cell, Cell]:
    if line is None:
        missing = Cell(EMPTY, footnote="not measured")
        return missing, missing
    decimals = METRICS[metric].decimals
    means = ", ".join(number(float(mean), decimals) for mean in line.means.split())
    return Cell(means), Cell(number(line.spread, decimals + 1))
