"""The study in a few numbers, to compare experiments by."""

import math
from pathlib import Path
from typing import Any

import pandas as pd

from fsr.files import write_json

VALIDATION = "validation_"  # columns of the training log


def write_metrics(primary: Path, train_log: Path, path: Path) -> None:
    """Write the means of the primary table and the last validation as nested JSON, for `dvc metrics`.

    {"train": {"validation_psnr": dB, ...}, "<protocol>": {"x<scale>": {"<set>": {"<row>": {"<metric>": mean}}}}}. What
    is empty or infinite in the table is left out.

    Args:
        primary: primary.csv of the report. train_log: log.csv of the field.
    """
    metrics: dict[str, Any] = {"train": last_validation(pd.read_csv(train_log))}
    for cell in pd.read_csv(primary).itertuples():
        if math.isfinite(cell.mean):
            place = metrics
            for name in (cell.protocol, f"x{cell.scale}", cell.set, cell.upscaler):
                place = place.setdefault(name, {})
            place[cell.metric] = cell.mean
    write_json(path, metrics)


def last_validation(log: pd.DataFrame) -> dict[str, float]:
    """{column: value} of the last row of a training log that has a validation; without columns that are empty there."""
    columns = [name for name in log.columns if name.startswith(VALIDATION)]
    validated = log[columns].dropna(how="all")
    return {} if validated.empty else {name: float(value) for name, value in validated.iloc[-1].dropna().items()}
