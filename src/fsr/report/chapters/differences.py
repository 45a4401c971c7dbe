"""Differences between any two rows, and the images on which FSR loses."""

from collections.abc import Mapping

import pandas as pd

from fsr.report.chapters.measured import difference_cell
from fsr.report.names import BASELINES, FSR, PRIMARY, Rows, times
from fsr.report.sheets import EMPTY, Cell, Chapter, Sheet, by_place, caption, count, number
from fsr.report.tables import opponents

TEXT = (
    "Mean PSNR of a row minus that of another, paired by image, with 95 % bootstrap intervals; 'higher on' counts the "
    "images where the row has the higher PSNR. Bold: the interval excludes zero in the row's favour. The matrices hold "
    "any two rows; every other metric, with intervals and wins, stands in differences.csv."
)
MOST_LISTED = 40  # failures of one scale; the CSV has all
FAILURES_TEXT = (
    "Images on which FSR has a lower PSNR against x_H_rec than feature bicubic, decoded bicubic or a method of others: "
    "FSR minus that row in dB, from the worst on."
)


def differences_chapter(frame: pd.DataFrame, rows: Rows, labels: Mapping[str, str]) -> Chapter:
    """Per scale, target, protocol and set a sheet of PSNR against both baselines, and of the primary target a matrix.

    Args:
        frame: of `tables.difference_frame`.
        labels: {set: what captions call it}.
    """
    sheets = []
    for part in by_place(frame[frame["metric"] == "psnr"]):
        sheets.append(_baselines_sheet(part, rows, labels))
        if part["target"].iloc[0] == PRIMARY:
            sheets.append(_matrix(part, rows, labels))
    return Chapter(TEXT, tuple(sheets), frame=frame)


def _baselines_sheet(part: pd.DataFrame, rows: Rows, labels: Mapping[str, str]) -> Sheet:
    lines = part.set_index(["upscaler", "baseline"])
    body = []
    for upscaler in part["upscaler"].unique():
        cells = [_against(lines, upscaler, baseline) for baseline in BASELINES]
        body.append((Cell(rows[upscaler].label), *(cell for pair in cells for cell in pair)))
    columns = [(f"minus {rows[baseline].label} (dB)", "higher on") for baseline in BASELINES]
    columns = ("upscaler", *(name for pair in columns for name in pair))
    return Sheet(caption("PSNR differences paired by image", part, labels), columns, tuple(body))


def _against(lines: pd.DataFrame, upscaler: str, baseline: str) -> tuple[Cell, Cell]:
    if upscaler == baseline:
        itself = Cell(EMPTY, footnote="the baseline itself")
        return itself, itself
    line = lines.loc[(upscaler, baseline)]
    return difference_cell(line), Cell(f"{line['wins']}/{line['images']}")


def _matrix(part: pd.DataFrame, rows: Rows, labels: Mapping[str, str]) -> Sheet:
    """Row minus column; without the ceiling, which equals its target."""
    names = [name for name in part["upscaler"].unique() if rows[name].kind != "ceiling"]
    lines = part.set_index(["upscaler", "baseline"])
    body = [
        (
            Cell(f"{index}. {rows[name].label}"),
            *(Cell(EMPTY) if name == other else difference_cell(lines.loc[(name, other)], False) for other in names),
        )
        for index, name in enumerate(names, start=1)
    ]
    columns = ("row minus column (dB)", *(f"{index}." for index in range(1, len(names) + 1)))
    return Sheet(caption("PSNR of any row minus any other", part, labels), columns, tuple(body))


def failures_chapter(frame: pd.DataFrame, upscalers: tuple[str, ...], rows: Rows, images: Mapping[int, int]) -> Chapter:
    """One sheet per scale: the images on which FSR is worse, a column per row it is worse than on some image.

    Args:
        frame: of `tables.failures`.
        upscalers: the rows that were measured.
        images: {scale: how many test images there are}.
    """
    against = "; ".join(rows[name].label for name in opponents(upscalers, rows))
    sheets, remarks = [], []
    for scale, total in images.items():
        part = frame[frame["scale"] == scale]
        worst = part.groupby(["set", "image"])["difference"].min().sort_values(kind="stable")
        remarks.append(
            f"{times(scale)}: FSR is worse than one of these rows on {len(worst)} of {count(total, 'test image')}"
            + (f"; the {MOST_LISTED} worst are listed, failures.csv has all." if len(worst) > MOST_LISTED else ".")
        )
        if len(worst):
            sheets.append(_failures_sheet(part, list(worst.index[:MOST_LISTED]), rows, scale))
    return Chapter(f"{FAILURES_TEXT} Compared with: {against}.", tuple(sheets), tuple(remarks), frame=frame)


def _failures_sheet(part: pd.DataFrame, places: list[tuple[str, str]], rows: Rows, scale: int) -> Sheet:
    names = [name for name in rows if name in set(part["upscaler"])]
    lines = part.set_index(["set", "image", "upscaler"])
    psnr = part.drop_duplicates(["set", "image"]).set_index(["set", "image"])["fsr"]
    gaps = lines["difference"].to_dict()
    body = [
        (
            Cell(image),
            Cell(name),
            Cell(number(psnr[(name, image)], 2)),
            *(
                Cell(number(gaps[key], 2, signed=True) if (key := (name, image, other)) in gaps else "")
                for other in names
            ),
        )
        for name, image in places
    ]
    columns = ("image", "set", f"{rows[FSR].label} (dB)", *(f"minus {rows[name].label}" for name in names))
    return Sheet(f"Images on which FSR is worse, {times(scale)}", columns, tuple(body), ("set",))
