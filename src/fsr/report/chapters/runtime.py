"""What each row takes on the machine it was timed on: milliseconds per stage, memory, operations."""

from pathlib import Path

import numpy as np
import pandas as pd

from fsr.report.names import CEILING, Rows
from fsr.report.sheets import EMPTY, Cell, Chapter, Sheet, number, times

COLUMNS = ("scale", "side", "entry", "upscaler", "stage", "milliseconds", "relative", "gflops", "parameters",
           "peak_memory_gib", "device", "dtype", "threads", "rounds", "reason")  # fmt: skip
STAGES, TOTAL = ("encode", "head", "model", "tail", "decode"), "total"
NUMBERS = ("milliseconds", "relative", "gflops", "parameters", "peak_memory_gib")
ENTRIES = {"image": "an image", "latent": "a latent"}
PLACE = ["scale", "entry", "side"]
TEXT = (
    "Medians over rounds in which the rows take turns, so that ratios hold though the machine may change speed. A "
    "dash: the row has no such stage. These numbers differ from machine to machine."
)
NONE = "Nothing was timed; benchmark.runtime.sides is empty."


def read_runtime(path: Path, rows: Rows) -> pd.DataFrame:
    """The table: numbers as floats, NaN where empty; texts as text.

    Raises:
        FileNotFoundError: it is missing.
        ValueError: other columns, a row, stage or entry without a name, or a cell with neither number nor reason.
    """
    empty = {name: ["", "nan"] for name in NUMBERS}
    frame = pd.read_csv(path, keep_default_na=False, na_values=empty, dtype={"reason": str, "device": str})
    again = "delete it and time again"
    if tuple(frame.columns) != COLUMNS:
        raise ValueError(f"{path} must have the columns {', '.join(COLUMNS)}; {again}")
    for column, known in (("upscaler", rows), ("stage", (*STAGES, TOTAL)), ("entry", ENTRIES)):
        unknown = sorted(set(frame[column]) - set(known))
        if unknown:
            raise ValueError(f"{path} has the {column} {', '.join(unknown)}, which has no name for readers; {again}")
    if (frame["milliseconds"].isna() & (frame["reason"] == "")).any():
        raise ValueError(f"{path} has a cell with neither milliseconds nor reason; {again}")
    return frame


def runtime_chapter(frame: pd.DataFrame, rows: Rows, published: tuple[Sheet, ...]) -> Chapter:
    """One sheet per scale, entry and size: rows are upscalers, columns the total and its stages.

    Args:
        frame: of `read_runtime`.
        published: sheets of published times.
    """
    if frame.empty:
        return Chapter(NONE, published, frame=frame)
    sheets = [_sheet(*place, part, rows) for place, part in frame.groupby(PLACE, sort=False)]
    return Chapter(TEXT, (*sheets, *published), frame=frame)


def _sheet(scale: int, entry: str, side: int, part: pd.DataFrame, rows: Rows) -> Sheet:
    stages = [stage for stage in STAGES if (part["stage"] == stage).any()]
    body = []
    for upscaler, lines in part.groupby("upscaler", sort=False):
        found = {line["stage"]: line for _, line in lines.iterrows()}
        total = found.get(TOTAL, next(iter(found.values())))
        times_ = (_cell(found.get(stage), "milliseconds", 2) for stage in (TOTAL, *stages))
        body.append(
            (
                Cell(rows[upscaler].label),
                *times_,
                _cell(total, "relative", 2),
                _cell(total, "gflops", 2),
                _cell(total, "parameters", 0),
                _cell(total, "peak_memory_gib", 3),
            )
        )
    first = part.iloc[0]
    machine = (
        f"{first['device']}, {first['dtype']}, {_count(first['threads'], 'thread')}, {_count(first['rounds'], 'round')}"
    )
    ratio = f"total / decode of {rows[CEILING].label}"
    heads = (f"{stage} (ms)" for stage in (TOTAL, *stages))
    columns = ("upscaler", *heads, ratio, "GFLOPs", "parameters", "peak memory (GiB)")
    told = f"Runtime from {ENTRIES[entry]}: {side} → {side * scale} pixels, {times(scale)}; {machine}"
    return Sheet(told, columns, tuple(body))


def _cell(line: pd.Series | None, name: str, decimals: int) -> Cell:
    if line is None:
        return Cell(EMPTY)
    return Cell(number(line[name], decimals), footnote=line["reason"] if np.isnan(line[name]) else "")


def _count(value: float, what: str) -> str:
    return f"{value:g} {what}{'' if value == 1 else 's'}"
