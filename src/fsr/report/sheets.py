"""Tables for readers: what a cell says, why it is empty, and the same sheet as Markdown."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product

import numpy as np
import pandas as pd

from fsr.report.names import METRICS, TARGETS, times

EMPTY, INFINITE = "–", "∞"
WITH_INTERVAL = ("psnr", "base_psnr")
BOLD = "Bold: the best method, where the paired interval of its difference to every other method excludes zero."


@dataclass(frozen=True)
class Cell:
    """What a reader sees: a text, its interval, and a footnote: the reason one of them is missing, or a citation."""

    text: str
    interval: str = ""
    bold: bool = False
    footnote: str = ""


@dataclass(frozen=True)
class Sheet:
    """A captioned table; the first cell of each row is its heading, `texts` are the columns not of numbers."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    texts: tuple[str, ...] = ()

    @cached_property
    def notes(self) -> list[str]:
        """The distinct footnotes, in the order they are numbered from 1."""
        return list(dict.fromkeys(cell.footnote for cells in self.rows for cell in cells if cell.footnote))

    def note(self, cell: Cell) -> int | None:
        """The number of the cell's footnote."""
        return self.notes.index(cell.footnote) + 1 if cell.footnote else None

    def is_text(self, column: int) -> bool:
        """Whether a column, counted from 0, holds texts."""
        return column == 0 or self.columns[column] in self.texts

    def markdown(self) -> str:
        """The caption, the table and its footnotes."""
        rule = [":---" if self.is_text(index) else "---:" for index in range(len(self.columns))]
        lines = [self.columns, rule, *([self._markdown(cell) for cell in cells] for cells in self.rows)]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        notes = "  \n".join(f"<sup>{number}</sup> {note}" for number, note in enumerate(self.notes, start=1))
        return "\n\n".join(part for part in (f"**{self.caption}**", table, notes) if part) + "\n"

    def _markdown(self, cell: Cell) -> str:
        text = cell.text.replace("|", r"\|")
        text = f"**{text}**" if cell.bold else text
        note = f"<sup>{self.note(cell)}</sup>" if cell.footnote else ""
        return f"{text}{note} {cell.interval}".strip()


@dataclass(frozen=True)
class Chapter:
    """Sheets below a text that says how to read them, remarks that no reader may miss, and what follows of them.

    Attributes:
        frame: the same numbers unrounded, for the CSV.
    """

    text: str
    sheets: tuple[Sheet, ...] = ()
    remarks: tuple[str, ...] = ()
    conclusion: str = ""
    frame: pd.DataFrame = field(default_factory=pd.DataFrame, compare=False)

    def markdown(self) -> str:
        """The text, the remarks as a list, the sheets, the conclusion."""
        remarks = "".join(f"- {remark}\n" for remark in self.remarks)
        conclusion = f"{self.conclusion}\n" if self.conclusion else ""
        sheets = [sheet.markdown() for sheet in self.sheets]
        return "\n".join(filter(None, [f"{self.text}\n", remarks, *sheets, conclusion]))


def number(value: float, decimals: int, signed: bool = False) -> str:
    """A rounded number with a proper minus sign; infinity as ∞ and NaN as a dash."""
    if np.isnan(value):
        return EMPTY
    sign = "−" if value < 0 else "+" if signed and value > 0 else ""
    return sign + (INFINITE if np.isinf(value) else f"{abs(value):.{decimals}f}")


def interval(low: float, high: float, decimals: int, signed: bool = False) -> str:
    """[low, high], or nothing where there is no interval."""
    return "" if np.isnan(low) else f"[{number(low, decimals, signed)}, {number(high, decimals, signed)}]"


def mean_cell(line: pd.Series, with_interval: bool | None = None) -> Cell:
    """A mean of a summary: bold where it is the best, with its interval where asked (None: of WITH_INTERVAL)."""
    metric = line["metric"]
    decimals = METRICS[metric].decimals
    shown = metric in WITH_INTERVAL if with_interval is None else with_interval
    return Cell(
        number(line["mean"], decimals),
        interval(line["low"], line["high"], decimals) if shown else "",
        bool(line["best"]),
        line["reason"] if shown or np.isnan(line["mean"]) else "",
    )


def mean_cells(
    lines: pd.DataFrame, metrics: Sequence[str], with_interval: bool | None = None, absent: str = "not measured"
) -> list[Cell]:
    """A `mean_cell` for each of `metrics` of one row; a dash where `lines`, of that row, has none.

    Args:
        absent: the footnote of such a dash.
    """
    found = {line["metric"]: line for _, line in lines.iterrows()}
    return [
        mean_cell(found[metric], with_interval) if metric in found else Cell(EMPTY, footnote=absent)
        for metric in metrics
    ]


def labels_of(metrics: Sequence[str]) -> list[str]:
    """What columns of the metrics are called."""
    return [METRICS[metric].label for metric in metrics]


def caption(what: str, part: pd.DataFrame, labels: Mapping[str, str]) -> str:
    """What a sheet of one scale, target, protocol and set shows."""
    first = part.iloc[0]
    place = f"{where(first['scale'], first['protocol'])}, target {TARGETS[first['target']]}"
    return f"{what}: {labels[first['set']]}, {count(first['images'], 'image')}; {place}"


def where(scale: int, protocol: str) -> str:
    """The part of a caption that says of which scale and protocol a sheet is."""
    return f"{times(scale)}, protocol {protocol}"


def count(number: int, what: str) -> str:
    """ "1 image", "2 images"."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def by_place(
    frame: pd.DataFrame, keys: Sequence[str] = ("scale", "target", "protocol", "set")
) -> Iterator[pd.DataFrame]:
    """Parts that are alike in `keys`; the first scale, primary target and first protocol come first."""
    parts = dict(iter(frame.groupby(list(keys))))
    order = product(*(TARGETS if key == "target" else frame[key].unique() for key in keys))
    return (parts[place] for place in order if place in parts)
