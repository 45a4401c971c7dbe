"""Base preservation, detail and colour: the output put back to low resolution beside the low-resolution image."""

from collections.abc import Mapping

import pandas as pd

from fsr.report.cells import Benchmark
from fsr.report.names import BASE_METRICS, HR, LOW, METRICS, Rows
from fsr.report.sheets import BOLD, Cell, Chapter, Sheet, by_place, count, labels_of, mean_cell, mean_cells, where
from fsr.report.tables import benchmark_frame

RAW = ("psnr", "ssim")
HOW = (
    "Base numbers compare the output, brought back to low resolution, with the low-resolution image. HF gain is high-"
    f"frequency energy over that of the bicubic base: neither more nor less is better, so it is never bold. {BOLD}"
)
DETAIL_TEXT = f"Mean over the sets of the sets' means; each set is resampled apart for the intervals. {HOW}"
BASE_ONLY_TEXT = f"Images enlarged as they are, without a high-resolution original to compare with. {HOW}"
NONE = "No set was enlarged without a high-resolution original; data.base_only names none."
COLOUR_TEXT = (
    "Mean over the RGB channels of the absolute difference of channel means between the output, brought back to low "
    f"resolution, and the low-resolution image, in 8-bit levels. {BOLD}"
)


def base_detail_chapter(
    macro: pd.DataFrame, rows: Rows, labels: Mapping[str, str], published: tuple[Sheet, ...]
) -> Chapter:
    """One sheet per scale and protocol: methods and ceiling, averaged over sets.

    Args:
        macro: of `tables.macro_average`.
        labels: {set: what captions call it} of the sets that are averaged.
        published: sheets of published numbers.
    """
    shown = [name for name in macro["upscaler"].unique() if rows[name].kind in ("method", "ceiling")]
    wanted = ((macro["target"] == HR) & macro["metric"].isin(RAW)) | (macro["target"] == LOW)
    part, sheets = macro[wanted & macro["upscaler"].isin(shown)], []
    metrics = [*RAW, *(metric for metric in BASE_METRICS if metric in set(part["metric"]))]
    heads = [f"raw {METRICS[metric].label}" for metric in RAW] + labels_of(metrics[len(RAW) :])
    for here in by_place(part, ("scale", "protocol")):
        body = [
            (Cell(rows[name].label), *mean_cells(lines, metrics, with_interval=False))
            for name, lines in here.groupby("upscaler", sort=False)
        ]
        told = f"Macro average over {', '.join(labels.values())}; {where(*here[['scale', 'protocol']].iloc[0])}"
        sheets.append(Sheet(told, ("upscaler", *heads), tuple(body)))
    return Chapter(DETAIL_TEXT, (*sheets, *published), frame=part.reset_index(drop=True))


def base_only_chapter(
    summary: pd.DataFrame,
    found: Benchmark,
    five: pd.DataFrame,
    rows: Rows,
    labels: Mapping[str, str],
) -> Chapter:
    """One sheet per scale, protocol and set: rows are upscalers; then the means over the pictures shown.

    Args:
        summary: of the base-only cells.
        five: the summary over the first images of the first set, which are shown side by side.
        labels: {set: what captions call it}.
    """
    remarks = tuple(f"{name}: not available ({reason})" for name, reason in found.unavailable.items())
    keys, sheets = ("scale", "protocol", "set"), []
    for part, what in [*((part, "Enlarged as they are") for part in by_place(summary, keys)),
                       *((part, "The images shown in the comparison") for part in by_place(five, keys))]:  # fmt: skip
        metrics = [metric for metric in BASE_METRICS if metric in set(part["metric"])]
        first = part.iloc[0]
        body = [
            (Cell(rows[name].label), *mean_cells(lines, metrics))
            for name, lines in part.groupby("upscaler", sort=False)
        ]
        place = where(first["scale"], first["protocol"])
        told = f"{what}: {labels[first['set']]}, {count(first['images'], 'image')}; {place}"
        sheets.append(Sheet(told, ("upscaler", *labels_of(metrics)), tuple(body)))
    text = BASE_ONLY_TEXT if found.sets else NONE
    return Chapter(text, tuple(sheets), remarks, frame=benchmark_frame(summary, found.absent))


def colour_chapter(summary: pd.DataFrame, base_only: pd.DataFrame, rows: Rows, labels: Mapping[str, str]) -> Chapter:
    """One sheet per scale and protocol: rows are upscalers, columns the sets, with intervals.

    Args:
        summary, base_only: means of paired and of base-only cells.
        labels: {set: what columns call it}.
    """
    both = pd.concat([summary.assign(mode="paired"), base_only.assign(mode="base_only")], ignore_index=True)
    part, sheets = both[both["metric"] == "colour_shift"].reset_index(drop=True), []
    for here in by_place(part, ("scale", "protocol")):
        places = list(here[["set", "mode"]].drop_duplicates().itertuples(index=False, name=None))
        cells = {(line["upscaler"], line["set"], line["mode"]): mean_cell(line, True) for _, line in here.iterrows()}
        body = [
            (
                Cell(rows[name].label),
                *(cells.get((name, *place), Cell("–", footnote="not measured")) for place in places),
            )
            for name in here["upscaler"].unique()
        ]
        heads = [labels[name] + (" (base only)" if mode == "base_only" else "") for name, mode in places]
        told = f"{METRICS['colour_shift'].label.capitalize()}; {where(*here[['scale', 'protocol']].iloc[0])}"
        sheets.append(Sheet(told, ("upscaler", *heads), tuple(body)))
    return Chapter(COLOUR_TEXT, tuple(sheets), frame=part)
