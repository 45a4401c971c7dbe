"""Tables for readers: what a cell says, why it is empty, and the same sheet as Markdown (or, by the page, as HTML)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd

from fsr.report.names import BASELINES, METRICS, ROWS, TARGETS, TERMS, times

EMPTY, INFINITE = "–", "∞"
WITH_INTERVAL = ("psnr",)
BENCHMARK_LEGEND = (
    "Means over images; brackets hold 95 % bootstrap intervals over images, which are too narrow where images are few. "
    "Bold: the best method, where the paired interval of its difference to the runner-up excludes zero. The VAE round "
    "trip is the ceiling of whatever renders through this autoencoder; Euler, Heun and stochastic rows are diagnostics."
)
DIFFERENCES_LEGEND = (
    "Mean PSNR of a row minus that of a baseline, paired by image, with 95 % bootstrap intervals; 'higher on' counts "
    "the images where the row has the higher PSNR."
)
PROBE_LEGEND = "Score with its 95 % bootstrap interval over crops, and its dimensionless terms before weighting."


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

    @property
    def notes(self) -> list[str]:
        """The distinct footnotes, in the order they are numbered from 1."""
        return list(dict.fromkeys(cell.footnote for cells in self.rows for cell in cells if cell.footnote))

    def note(self, cell: Cell) -> int | None:
        """The number of the cell's footnote."""
        return self.notes.index(cell.footnote) + 1 if cell.footnote else None

    def markdown(self) -> str:
        """The caption, the table and its footnotes."""
        rule = [":---" if column in (self.columns[0], *self.texts) else "---:" for column in self.columns]
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
    """Sheets below a text that says how to read them, remarks that no reader may miss, and what follows of them."""

    text: str
    sheets: tuple[Sheet, ...] = ()
    remarks: tuple[str, ...] = ()
    conclusion: str = ""

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


def benchmark_chapter(summary: pd.DataFrame, labels: Mapping[str, str], remarks: tuple[str, ...] = ()) -> Chapter:
    """One sheet per scale, target, protocol and set: rows are upscalers, columns the metrics measured there.

    Args:
        labels: {set: what captions call it}.
    """
    sheets = tuple(_benchmark_sheet(part, labels) for part in _by_place(summary))
    return Chapter(BENCHMARK_LEGEND, sheets, remarks)


def _benchmark_sheet(part: pd.DataFrame, labels: Mapping[str, str]) -> Sheet:
    metrics = [metric for metric in METRICS if metric in set(part["metric"])]
    lines = part.set_index(["upscaler", "metric"])
    rows = [
        (Cell(ROWS[upscaler].label), *(_mean_cell(lines.loc[(upscaler, metric)], metric) for metric in metrics))
        for upscaler in part["upscaler"].unique()
    ]
    columns = ("upscaler", *(METRICS[metric].label for metric in metrics))
    return Sheet(caption("Means over images", part, labels), columns, tuple(rows))


def _mean_cell(line: pd.Series, metric: str) -> Cell:
    decimals, shown = METRICS[metric].decimals, metric in WITH_INTERVAL
    return Cell(
        number(line["mean"], decimals),
        interval(line["low"], line["high"], decimals) if shown else "",
        bool(line["best"]),
        line["reason"] if shown or np.isnan(line["mean"]) else "",
    )


def differences_chapter(frame: pd.DataFrame, labels: Mapping[str, str]) -> Chapter:
    """One sheet per scale, target, protocol and set: PSNR differences to both baselines, with intervals and wins."""
    sheets = tuple(_difference_sheet(part, labels) for part in _by_place(frame))
    return Chapter(DIFFERENCES_LEGEND, sheets)


def _difference_sheet(part: pd.DataFrame, labels: Mapping[str, str]) -> Sheet:
    lines = part.set_index(["upscaler", "baseline"])
    rows = []
    for upscaler in part["upscaler"].unique():
        cells = [_difference_cells(lines, upscaler, baseline) for baseline in BASELINES]
        rows.append((Cell(ROWS[upscaler].label), *(cell for pair in cells for cell in pair)))
    columns = [(f"minus {ROWS[baseline].label} (dB)", "higher on") for baseline in BASELINES]
    columns = ("upscaler", *(name for pair in columns for name in pair))
    return Sheet(caption("PSNR differences paired by image", part, labels), columns, tuple(rows))


def _difference_cells(lines: pd.DataFrame, upscaler: str, baseline: str) -> tuple[Cell, Cell]:
    if upscaler == baseline:
        itself = Cell(EMPTY, footnote="the baseline itself")
        return itself, itself
    line = lines.loc[(upscaler, baseline)]
    difference = Cell(
        number(line["difference"], 2, signed=True),
        interval(line["low"], line["high"], 2, signed=True),
        footnote=line["reason"],
    )
    return difference, Cell(f"{line['wins']}/{line['images']}")


def probe_chapter(probe: pd.DataFrame, scales: Sequence[int], conclusion: str) -> Chapter:
    """The probe's cuts: score with interval, the terms it is made of (dimensionless), and what became of each cut.

    Args:
        conclusion: which cut was trained.
    """
    rows = [_probe_cells(line) for _, line in probe.iterrows()]
    columns = ("cut", "stage", "score", *(term.label for term in TERMS), "crops", "status")
    sheet = Sheet(f"Cut probe over training crops, {times(*scales)}; bold: the selected cut", columns, tuple(rows))
    return Chapter(PROBE_LEGEND, (sheet,), conclusion=conclusion)


def _probe_cells(line: pd.Series) -> tuple[Cell, ...]:
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


def caption(what: str, part: pd.DataFrame, labels: Mapping[str, str]) -> str:
    """What a sheet of one scale, target, protocol and set shows."""
    first = part.iloc[0]
    images = f"{first['images']} image{'s' if first['images'] > 1 else ''}"
    place = f"{times(first['scale'])}, protocol {first['protocol']}, target {TARGETS[first['target']]}"
    return f"{what}: {labels[first['set']]}, {images}; {place}"


def _by_place(frame: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Parts of one scale, target, protocol and set; the first scale, primary target and first protocol come first."""
    keys = ["scale", "target", "protocol", "set"]
    parts = dict(iter(frame.groupby(keys)))
    order = product(*(TARGETS if key == "target" else frame[key].unique() for key in keys))
    return (parts[place] for place in order if place in parts)
