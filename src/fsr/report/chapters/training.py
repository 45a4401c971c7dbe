"""What training cost: measured here, published elsewhere; and the learning rates that were tried first."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from fsr.files import read_json
from fsr.report.data import check_keys
from fsr.report.names import FSR, Rows, method_label, times
from fsr.report.sheets import EMPTY, Cell, Chapter, Sheet, number

COST_KEYS = ("steps", "seconds", "crops", "data_wait_share", "skipped_steps", "processes", "peak_memory_gib",
             "autocast", "parameters")  # fmt: skip
PUBLISHED_COLUMNS = ("source", "citation", "method", "scope", "hardware", "hours", "gpu_hours", "steps", "data")
SEARCH_KEYS = ("method", "steps", "runs", "best")
COST_TEXT = (
    "Measured: the runs of this study on its machine, differing from machine to machine. Published: what the sources "
    "print. Scopes, data and machines differ, so the two are read apart; what may be read is the order of magnitude."
)
SEARCH_TEXT = (
    "PSNR on held-out crops after a short training at each learning rate, the same steps, crops, order and seed for "
    "every method. The rate used is the best of its line."
)
NO_SEARCH = "No learning rate was searched."


def read_costs(fsr: Path, rivals: Mapping[str, Path]) -> pd.DataFrame:
    """One line per trained row: model, and what its runtime.json holds (COST_KEYS); FSR first.

    Raises:
        FileNotFoundError, ValueError: a file is missing, or lacks what the report tells of a run.
    """
    lines = []
    for model, path in {FSR: fsr, **rivals}.items():
        entry = read_json(path)
        check_keys(entry, COST_KEYS, path)
        lines.append({"model": model} | {key: entry[key] for key in COST_KEYS})
    return pd.DataFrame(lines)


def read_published_costs(path: Path) -> pd.DataFrame:
    """The published costs, as text: numbers keep the digits their sources printed.

    Raises:
        FileNotFoundError: it is missing.
        ValueError: other columns, an empty field, or GPU hours that are no number.
    """
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    if tuple(frame.columns) != PUBLISHED_COLUMNS:
        raise ValueError(f"{path} must have the columns {', '.join(PUBLISHED_COLUMNS)}")
    wrong = frame[(frame == "").any(axis=1) | pd.to_numeric(frame["gpu_hours"], errors="coerce").isna()]
    if len(wrong):
        raise ValueError(
            f"line {wrong.index[0] + 2} of {path} has an empty field or GPU hours that are no number; fix it"
        )
    return frame


def training_cost_chapter(costs: pd.DataFrame, published: pd.DataFrame, rows: Rows, scales: Sequence[int]) -> Chapter:
    """A sheet of what was measured and one of what was published.

    Args:
        costs, published: of `read_costs` and `read_published_costs`.
    """
    body = [_measured(line, rows, scales) for _, line in costs.iterrows()]
    columns = ("method", "scope", "wall-clock (h)", "process hours", "steps", "crops", "parameters", "precision",
               "waiting for data (%)", "peak memory (GiB)")  # fmt: skip
    sheets = [Sheet("Training cost, measured here", columns, tuple(body), ("scope", "precision"))]
    heads = ("method", "scope", "hardware", "wall-clock (h)", "GPU hours", "steps", "data")
    theirs = [
        (Cell(line["method"], footnote=f"{line['source']}, {line['citation']}"), *(Cell(line[name]) for name in
         ("scope", "hardware", "hours", "gpu_hours", "steps", "data")))
        for _, line in published.iterrows()
    ]  # fmt: skip
    sheets.append(Sheet("Training cost, published", heads, tuple(theirs), ("scope", "hardware", "data")))
    measured = costs.assign(origin="measured", hours=costs["seconds"] / 3600)
    frame = pd.concat([measured, published.rename(columns={"method": "model"}).assign(origin="published")])
    return Chapter(COST_TEXT, tuple(sheets), frame=frame)


def _measured(line: pd.Series, rows: Rows, scales: Sequence[int]) -> tuple[Cell, ...]:
    hours = line["seconds"] / 3600
    skipped = f"{line['skipped_steps']} steps skipped, not finite" if line["skipped_steps"] else ""
    return (
        Cell(rows[line["model"]].label),
        Cell(times(*scales)),
        Cell(number(hours, 3)),
        Cell(number(hours * line["processes"], 3)),
        Cell(str(line["steps"]), footnote=skipped),
        Cell(str(line["crops"])),
        Cell(str(line["parameters"])),
        Cell(line["autocast"]),
        Cell(number(100 * line["data_wait_share"], 1)),
        Cell(number(line["peak_memory_gib"], 2)),
    )


def read_search(path: Path) -> dict[str, Any]:
    """What a search of learning rates found: method, steps, runs (lr, validation_psnr, reason), best.

    Raises:
        FileNotFoundError, ValueError: the file is missing, or lacks what the report tells of it.
    """
    entry = read_json(path)
    check_keys(entry, SEARCH_KEYS, path)
    for run in entry["runs"]:
        check_keys(run, ("lr", "validation_psnr", "reason"), path)
    return entry


def learning_rates_chapter(searches: Sequence[Mapping[str, Any]]) -> Chapter:
    """One sheet: a line per method, a column per learning rate, and the rate used.

    Args:
        searches: of `read_search`.
    """
    runs = [
        {"method": each["method"], "steps": each["steps"], **run, "used": run["lr"] == each["best"]}
        for each in searches
        for run in each["runs"]
    ]
    frame = pd.DataFrame(runs, columns=["method", "steps", "lr", "validation_psnr", "reason", "used"])
    if frame.empty:
        return Chapter(NO_SEARCH, frame=frame)
    rates, body = sorted(frame["lr"].unique()), []
    for each in searches:
        found = {run["lr"]: run for run in each["runs"]}
        cells = (_psnr(found.get(rate)) for rate in rates)
        body.append((Cell(method_label(each["method"])), *cells, Cell(f"{each['best']:g}"), Cell(str(each["steps"]))))
    columns = ("method", *(f"{rate:g}" for rate in rates), "used", "steps")
    return Chapter(SEARCH_TEXT, (Sheet("Validation PSNR (dB) by learning rate", columns, tuple(body)),), frame=frame)


def _psnr(run: Mapping[str, Any] | None) -> Cell:
    if run is None:
        return Cell(EMPTY, footnote="not tried")
    if run["validation_psnr"] is None:
        return Cell(EMPTY, footnote=run["reason"])
    return Cell(number(run["validation_psnr"], 2))
