"""The numbers of every image, for the page: tables that are laid out when a reader opens them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from fsr.report.inputs import Found
from fsr.report.names import LOW, METRICS, PERCEPTUAL, PRIMARY, Rows, times
from fsr.report.sheets import EMPTY, number

SHOWN = {
    PRIMARY: ("psnr", "ssim", *PERCEPTUAL),
    "hr": ("psnr",),
    LOW: ("base_psnr", "base_l1", "hf_gain", "colour_shift"),
}
HEADS = {("hr", "psnr"): "PSNR vs raw (dB)"}


@dataclass(frozen=True)
class ImageTable:
    """One set at one scale: a line per image and row, as readers see it; the first two columns are texts."""

    id: str
    heading: str
    columns: tuple[str, ...]
    rows: list[list[str]]


def table_id(scale: int, name: str, base_only: bool = False) -> str:
    """The id of a set's table on the page."""
    return f"images-x{scale}-{name}" + ("-base-only" if base_only else "")


def image_tables(found: Found, protocol: str, scales: Sequence[int]) -> list[ImageTable]:
    """A table per scale and set, paired sets first, under one protocol."""
    return [
        *_tables(found.benchmark.under(protocol), found, scales, base_only=False),
        *_tables(found.base_only.under(protocol), found, scales, base_only=True),
    ]


def _tables(cells: pd.DataFrame, found: Found, scales: Sequence[int], base_only: bool) -> Iterator[ImageTable]:
    kind = ", enlarged without high resolution" if base_only else ""
    for (scale, name), part in cells.groupby(["scale", "set"], sort=False):
        heading = found.labels[name] + kind + (f", {times(scale)}" if len(scales) > 1 else "")
        yield ImageTable(table_id(scale, name, base_only), heading, *_table(part, found.rows))


def _table(part: pd.DataFrame, rows: Rows) -> tuple[tuple[str, ...], list[list[str]]]:
    numbers = part.set_index(["image", "upscaler", "target", "metric"])["number"].to_dict()
    known = {(target, metric) for (_, _, target, metric), value in numbers.items() if not pd.isna(value)}
    shown = [(target, metric) for target, metrics in SHOWN.items() for metric in metrics if (target, metric) in known]
    lines = []
    for image, upscaler in part[["image", "upscaler"]].drop_duplicates().itertuples(index=False, name=None):
        found = (numbers.get((image, upscaler, *each)) for each in shown)
        cells = [
            EMPTY if value is None else number(value, METRICS[metric].decimals)
            for value, (_, metric) in zip(found, shown, strict=True)
        ]
        lines.append([image, rows[upscaler].label, *cells])
    return ("image", "row", *(HEADS.get(each, METRICS[each[1]].label) for each in shown)), lines
