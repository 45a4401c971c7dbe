"""What the page says of one run: the cut it used, and what it cost on its machine (not in the reproducible tables)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from fsr.config import Params
from fsr.report.sheets import Cell, Sheet, number

RUNTIME = {
    "head_ms": ("head (ms)", 1),
    "tail_ms": ("tail (ms)", 1),
    "peak_memory_gib": ("peak memory (GiB)", 2),
    "prototype_score": ("prototype's score", 3),
}


def cut_and_note(params: Params, selected: Mapping[str, Any], probe: pd.DataFrame) -> tuple[str, str]:
    """The cut that was trained, as "f3 (stage)", and a sentence or two on how it was chosen."""
    cut = selected["cut"] if params.train.cut == "best" else params.train.cut
    stage = probe.set_index("cut").loc[cut, "stage"]
    certainty = (
        f"ambiguous: another cut is within {params.probe.margin:g}"
        if selected["ambiguous"]
        else f"clear: no other cut is within {params.probe.margin:g}"
    )
    note = f"The probe scores {selected['cut']} highest ({number(selected['score'], 3)}); the choice is {certainty}."
    override = "" if params.train.cut == "best" else f" Training used {cut}, as train.cut says."
    return f"{cut} ({stage})", note + override


def cost_line(runtime: Mapping[str, Any]) -> str:
    """Steps, wall-clock, precision and memory of the training run."""
    hours, seconds = divmod(round(runtime["seconds"]), 3600)
    minutes, seconds = divmod(seconds, 60)
    return (
        f"Cost of this run on its machine: {runtime['steps']} steps in {hours} h {minutes:02} min {seconds:02} s, "
        f"{runtime['autocast']}, peak memory {runtime['peak_memory_gib']:.2f} GiB."
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
