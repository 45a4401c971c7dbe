"""The probe's cuts."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from fsr.report.names import TERMS, times
from fsr.report.sheets import Cell, Chapter, Sheet, interval, number

TEXT = "Score with its 95 % bootstrap interval over crops, and its dimensionless terms before weighting."


def probe_chapter(
    probe: pd.DataFrame, scales: Sequence[int], conclusion: str, published: tuple[Sheet, ...] = ()
) -> Chapter:
    """The probe's cuts: score with interval, the terms it is made of (dimensionless), and what became of each cut.

    Args:
        conclusion: which cut was trained.
        published: sheets of published scores.
    """
    rows = [_cells(line) for _, line in probe.iterrows()]
    columns = ("cut", "stage", "score", *(term.label for term in TERMS), "crops", "status")
    sheet = Sheet(f"Cut probe over training crops, {times(*scales)}; bold: the selected cut", columns, tuple(rows))
    return Chapter(TEXT, (sheet, *published), conclusion=conclusion, frame=probe)


def _cells(line: pd.Series) -> tuple[Cell, ...]:
    selected, reason = bool(line["selected"]), line["reason"]
    score = Cell(
        number(line["score"], 3),
        interval(line["score_low"], line["score_high"], 3),
        selected,
        reason if np.isnan(line["score"]) else "",
    )
    terms = [
        Cell(number(line[term.column], 3), footnote=reason if np.isnan(line[term.column]) else "") for term in TERMS
    ]
    status = Cell("selected" if selected else line["status"])
    return Cell(line["cut"], bold=selected), Cell(line["stage"]), score, *terms, Cell(str(line["crops"])), status
