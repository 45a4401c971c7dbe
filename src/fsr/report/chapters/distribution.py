"""Distances between the features of a row's images and of real ones, and image-text cosines."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from fsr.metrics.distribution import label
from fsr.report.names import Rows
from fsr.report.sheets import EMPTY, Cell, Chapter, Sheet, number, times

COLUMNS = ("scale", "set", "mode", "reference", "upscaler", "features", "metric", "value", "std", "samples",
           "reference_samples", "subset_size", "flag", "reason")  # fmt: skip
KINDS = {"fd": ("fd", False), "patch_fd": ("fd", True), "kd": ("kd", False), "patch_kd": ("kd", True)}
DECIMALS = {"fd": 2, "patch_fd": 2, "kd": 5, "patch_kd": 5, "clip": 4}
MODES = {"paired": "enlarged from their low-resolution versions", "base_only": "enlarged as they are"}
TEXT = (
    "Lower distances are closer to the reference; a higher CLIP cosine fits the prompt better. Kernel distances are "
    "means over subsets with their standard deviation, cosines over images. A name says which features were compared: "
    "only Inception's make an FID. There is no interval over images, so nothing is bold."
)
NONE = (
    "No distribution metric was measured: data.reference names no set to compare with, or no features were asked for."
)


def read_distribution(path: Path, rows: Rows) -> pd.DataFrame:
    """The table: numbers as floats, NaN where empty; texts as text.

    Raises:
        FileNotFoundError: it is missing.
        ValueError: other columns, a metric or row without a name, or a cell with neither value nor reason.
    """
    texts = dict.fromkeys(("set", "mode", "reference", "upscaler", "features", "metric", "flag", "reason"), str)
    frame = pd.read_csv(path, dtype=texts, keep_default_na=False, na_values={"value": "", "std": ""})
    again = "delete it and benchmark again"
    if tuple(frame.columns) != COLUMNS:
        raise ValueError(f"{path} must have the columns {', '.join(COLUMNS)}; {again}")
    for column, known in (("metric", DECIMALS), ("upscaler", rows), ("mode", MODES)):
        unknown = sorted(set(frame[column]) - set(known))
        if unknown:
            raise ValueError(f"{path} has the {column} {', '.join(unknown)}, which has no name for readers; {again}")
    frame[["value", "std"]] = frame[["value", "std"]].apply(pd.to_numeric)
    if (frame["value"].isna() & (frame["reason"] == "")).any():
        raise ValueError(f"{path} has a cell with neither value nor reason; {again}")
    return frame


def distribution_chapter(
    frame: pd.DataFrame, rows: Rows, labels: Mapping[str, str], published: tuple[Sheet, ...]
) -> Chapter:
    """One sheet per scale, set, mode and reference: rows are upscalers, columns what was measured.

    Args:
        frame: of `read_distribution`.
        labels: {set: what captions call it}.
        published: sheets of published numbers.
    """
    if frame.empty:
        return Chapter(NONE, published, frame=frame)
    frame = frame.assign(label=[metric_label(*pair) for pair in zip(frame["features"], frame["metric"], strict=True)])
    groups = frame.groupby(["scale", "set", "mode", "reference"], sort=False)
    sheets = [_sheet(*place, part, rows, labels) for place, part in groups]
    return Chapter(TEXT, (*sheets, *published), frame=frame)


def metric_label(features: str, metric: str) -> str:
    """What a column of one metric on one net's features is called."""
    if metric == "clip":
        return "CLIP cosine"
    kind, patches = KINDS[metric]
    return label(features, kind, patches=patches)


def _sheet(
    scale: int, name: str, mode: str, reference: str, part: pd.DataFrame, rows: Rows, labels: Mapping[str, str]
) -> Sheet:
    heads = list(part["label"].unique())
    body = []
    for upscaler, lines in part.groupby("upscaler", sort=False):
        found = {line["label"]: _cell(line) for _, line in lines.iterrows()}
        body.append(
            (Cell(rows[upscaler].label), *(found.get(head, Cell(EMPTY, footnote="not measured")) for head in heads))
        )
    against = f" against {labels.get(reference, reference)}" if reference else ""
    told = f"Distribution: {labels.get(name, name)}{against}; images {MODES[mode]}, {times(scale)}"
    return Sheet(told, ("upscaler", *heads), tuple(body))


def _cell(line: pd.Series) -> Cell:
    if pd.isna(line["value"]):
        return Cell(EMPTY, footnote=line["reason"])
    decimals = DECIMALS[line["metric"]]
    spread = "" if pd.isna(line["std"]) else f"± {number(line['std'], decimals)}"
    return Cell(number(line["value"], decimals), spread, footnote=_footnote(line))


def _footnote(line: pd.Series) -> str:
    what = "patches" if line["metric"].startswith("patch") else "images"
    told = f"{line['samples']} {what}"
    if line["metric"] != "clip":
        told += f" against {line['reference_samples']}"
    if line["metric"].endswith("kd"):
        told += f", in subsets of {line['subset_size']}"
    return "; ".join(filter(None, (told, line["flag"])))
