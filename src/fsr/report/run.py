"""What the report says of one run: the cut it used and how that was decided, and what it cost on its machine."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fsr.config import Params
from fsr.files import read_json
from fsr.report.data import check_keys
from fsr.report.sheets import Cell, Sheet, number

RUNTIME = {
    "head_ms": ("head (ms)", 1),
    "tail_ms": ("tail (ms)", 1),
    "peak_memory_gib": ("peak memory (GiB)", 2),
    "prototype_score": ("prototype's score", 3),
}
TRIAL_KEYS = ("cut", "status", "reason", "steps", "validation_rgb_l1")


@dataclass(frozen=True)
class TrainedCut:
    """The cut training used; `decided_by` is probe, trial or params, `trials` has an entry (TRIAL_KEYS) a tried cut."""

    cut: str
    decided_by: str
    trials: tuple[Mapping[str, Any], ...]


def read_trained_cut(path: Path) -> TrainedCut:
    """What training wrote of its cut.

    Raises:
        FileNotFoundError, ValueError: the file is missing, or lacks what the report tells of the cut.
    """
    entry = read_json(path)
    check_keys(entry, ("cut", "decided_by", "trials"), path)
    for trial in entry["trials"]:
        check_keys(trial, TRIAL_KEYS, path)
    return TrainedCut(entry["cut"], entry["decided_by"], tuple(entry["trials"]))


def probe_note(params: Params, selected: Mapping[str, Any]) -> str:
    """A sentence on what the probe found."""
    certainty = "ambiguous: another cut is" if selected["ambiguous"] else "clear: no other cut is"
    score = f"{selected['cut']} highest ({number(selected['score'], 3)})"
    return f"The probe scores {score}; the choice is {certainty} within {params.probe.margin:g}."


def trained_note(trained: TrainedCut, selected: Mapping[str, Any]) -> str:
    """A sentence or two on the cut that went into training, and how it was decided."""
    if trained.decided_by == "params":
        return f"Training used {trained.cut}, as train.cut says."
    if not trained.trials:
        others = [cut for cut in selected["candidates"] if cut != trained.cut]
        untried = f"; {', '.join(others)} was not tried, since train.trial_steps is 0" if others else ""
        return f"Training used {trained.cut}, the probe's first{untried}."
    tried = " and ".join(trial["cut"] for trial in trained.trials)
    became = "; ".join(map(_became, trained.trials))
    steps = trained.trials[0]["steps"]
    return (
        f"The probe could not tell {tried} apart, so each was trained for {steps} steps: {became}. Training went on "
        f"with {trained.cut}."
    )


def _became(trial: Mapping[str, Any]) -> str:
    if trial["status"] != "ok":
        return f"{trial['cut']} ran out of memory and was skipped ({trial['reason']})"
    return f"{trial['cut']} came to an RGB L1 of {number(trial['validation_rgb_l1'], 5)} on held-out crops"


def cost_line(runtime: Mapping[str, Any]) -> str:
    """What the training run took on its machine: steps, crops, wall-clock, processes, waiting, precision, memory."""
    hours, seconds = divmod(round(runtime["seconds"]), 3600)
    minutes, seconds = divmod(seconds, 60)
    skipped = f" ({runtime['skipped_steps']} skipped, not finite)" if runtime["skipped_steps"] else ""
    several = f" in {runtime['processes']} processes" if runtime["processes"] > 1 else ""
    return (
        f"Cost of this run on its machine: {runtime['steps']} steps{skipped} over {runtime['crops']} crops in "
        f"{hours} h {minutes:02} min {seconds:02} s{several}, {100 * runtime['data_wait_share']:.1f} % of it waiting "
        f"for data, {runtime['autocast']}, peak memory {runtime['peak_memory_gib']:.2f} GiB."
    )


def runtime_sheet(runtime: pd.DataFrame, probe: pd.DataFrame) -> Sheet:
    """The probe's milliseconds and memory per cut; an empty cell has the reason probe.csv gives for the cut."""
    reasons = probe.set_index("cut")["reason"]
    rows = []
    for _, line in runtime.iterrows():
        cells = [
            Cell(number(line[name], decimals), footnote=reasons[line["cut"]] if np.isnan(line[name]) else "")
            for name, (_, decimals) in RUNTIME.items()
        ]
        rows.append((Cell(line["cut"]), *cells))
    columns = ("cut", *(label for label, _ in RUNTIME.values()))
    return Sheet("What the probe measured on its machine (differs from machine to machine)", columns, tuple(rows))
