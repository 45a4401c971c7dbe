"""Tables of numbers from the benchmark's cells: means with intervals, one line per image, FSR's gains and failures."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd

from fsr.files import write_text
from fsr.report.columns import PLACE, Column, Resampling, best_row, no_interval_reason
from fsr.report.names import BASE, BASELINES, FSR, METRICS, PRIMARY, Rows
from fsr.report.statistics import differences

MEAN = ["images", "mean", "low", "high", "reason", "best"]
DIFFERENCE = ["images", "difference", "low", "high", "wins", "reason"]
DIFFERENCES = [*PLACE, "metric", "upscaler", "baseline", *DIFFERENCE]
FAILURES = ["scale", "set", "image", "upscaler", "fsr", "psnr", "difference"]
PER_IMAGE = ("protocol", "scale", "set", "image", "upscaler", "target")


def summarise(columns: Iterable[Column], rows: Rows, resampling: Resampling) -> pd.DataFrame:
    """One line per protocol, scale, set, target, metric and upscaler: images, mean, low, high, reason, best.

    A mean is empty, with its reason, if one image has no number. `best` marks the best mean among the methods (not
    diagnostics, not the ceiling) where the paired interval against every other of them excludes zero.
    """
    lines = []
    for column in columns:
        lines += [(*column.place, *line) for line in _means([column], rows, resampling)]
    return pd.DataFrame(lines, columns=[*PLACE, "upscaler", "metric", *MEAN])


def macro_average(columns: Iterable[Column], rows: Rows, resampling: Resampling) -> pd.DataFrame:
    """One line per protocol, scale, target, metric and upscaler: the mean over the sets of the sets' means.

    Columns as of `summarise`, with `sets` (how many) in place of `set`; `images` is of all of them.
    """
    groups: dict[tuple, list[Column]] = {}
    for column in columns:
        protocol, scale, _, target = column.place
        groups.setdefault((protocol, scale, target, column.metric), []).append(column)
    lines = []
    for (protocol, scale, target, _), over in groups.items():
        common = [name for name in over[0].upscalers if all(name in each.upscalers for each in over)]
        aligned = [each.only(common) for each in over]
        lines += [(protocol, scale, target, len(over), *line) for line in _means(aligned, rows, resampling)]
    keys = ["protocol", "scale", "target", "sets", "upscaler", "metric"]
    return pd.DataFrame(lines, columns=[*keys, *MEAN])


def _means(over: Sequence[Column], rows: Rows, resampling: Resampling) -> Iterator[tuple]:
    intervals, images = resampling.means(over), sum(len(column.images) for column in over)
    best = best_row(over, intervals.mean, rows, resampling)
    for index, upscaler in enumerate(over[0].upscalers):
        interval = intervals.at(index)
        empty = "; ".join(dict.fromkeys(each.reasons[index] for each in over if each.reasons[index]))
        reason = empty or no_interval_reason(interval, over[0].metric)
        yield upscaler, over[0].metric, images, *interval, reason, upscaler == best


def benchmark_frame(summary: pd.DataFrame, absent: pd.DataFrame) -> pd.DataFrame:
    """The summary, one line per protocol, scale, set, target and upscaler, then the sets that are not available.

    Columns `<metric>`, `<metric>_low`, `<metric>_high`; `reasons` says why any of them is empty.

    Args:
        absent: as `Benchmark` has it; its lines have 0 images.
    """
    lines, metrics = [], measured(summary)
    for place, part in summary.groupby([*PLACE, "upscaler"], sort=False):
        line = dict(zip([*PLACE, "upscaler"], place, strict=True)) | {"images": part["images"].iloc[0]}
        for cell in part.itertuples():
            line |= {cell.metric: cell.mean, f"{cell.metric}_low": cell.low, f"{cell.metric}_high": cell.high}
        line["reasons"] = _reasons(dict(zip(part["metric"], part["reason"], strict=True)), metrics)
        lines.append(line)
    lines += [
        {name: getattr(line, name) for name in ("protocol", "scale", "set")}
        | {"images": 0, "reasons": f"not available: {line.reason}"}
        for line in absent.itertuples()
    ]
    if not lines:
        return pd.DataFrame(columns=[*PLACE, "upscaler", "images", "reasons"])
    frame = pd.DataFrame(lines)
    return frame.assign(reasons=frame.pop("reasons"))


def _reasons(given: Mapping[str, str], metrics: Iterable[str]) -> str:
    """Why cells of one row and target are empty, or have no interval.

    Args:
        given: {metric: its reason, empty where it has none}.
        metrics: those the table has columns for.
    """
    told = [f"{metric}: {reason}" for metric, reason in given.items() if reason]
    absent = [f"{metric}: not measured against this target" for metric in metrics if metric not in given]
    return "; ".join(told + absent)


def measured(frame: pd.DataFrame) -> list[str]:
    """The metrics that occur, in the tables' order."""
    return [metric for metric in METRICS if metric in set(frame["metric"])]


def difference_frame(columns: Iterable[Column], resampling: Resampling) -> pd.DataFrame:
    """Any row minus any other, paired by image, in the metric's unit: every metric against x_H_rec, PSNR against all.

    `wins` counts the images where the row is better, which for an error is lower.
    """
    wanted = [
        column
        for column in columns
        if METRICS[column.metric].better and (column.place[-1] == PRIMARY or column.metric == "psnr")
    ]
    lines = [line for column in wanted for line in _differences(column, resampling)]
    return pd.DataFrame(lines, columns=DIFFERENCES)


def _differences(column: Column, resampling: Resampling) -> Iterator[tuple]:
    pairs, better = resampling.pairs([column]), METRICS[column.metric].better
    for first, second in permutations(range(len(column.upscalers)), 2):
        interval, gaps = pairs.at(first, second), differences(column.numbers[first], column.numbers[second])
        reason = column.reasons[first] or column.reasons[second] or no_interval_reason(interval, column.metric)
        place = (*column.place, column.metric, column.upscalers[first], column.upscalers[second])
        yield *place, len(column.images), *interval, int((better * gaps > 0).sum()), reason


def per_image_frame(cells: pd.DataFrame) -> pd.DataFrame:
    """One line per place, image and upscaler, a column per metric, its values as text; `reasons` of empty ones."""
    metrics = measured(cells)
    values: dict[tuple, dict[str, str]] = {}
    reasons: dict[tuple, dict[str, str]] = {}
    for *place, metric, value, reason in cells[[*PER_IMAGE, "metric", "value", "reason"]].itertuples(index=False):
        values.setdefault(tuple(place), {})[metric] = value
        reasons.setdefault(tuple(place), {})[metric] = reason
    lines = [
        (*place, *(found.get(metric, "") for metric in metrics), _reasons(reasons[place], metrics))
        for place, found in values.items()
    ]
    return pd.DataFrame(lines, columns=[*PER_IMAGE, *metrics, "reasons"])


def gains(columns: Iterable[Column]) -> pd.DataFrame:
    """One line per scale and image: PSNR in dB against x_H_rec of feature bicubic, of FSR, and FSR minus that.

    Columns scale, set, image, base, fsr, gain; `columns` are of one protocol.
    """
    frames = []
    for column in _primary_psnr(columns):
        base, fsr = column.of(BASE), column.of(FSR)
        place = {"scale": column.place[1], "set": column.place[2], "image": column.images}
        frames.append(pd.DataFrame(place | {"base": base, "fsr": fsr, "gain": differences(fsr, base)}))
    return pd.concat(frames, ignore_index=True)


def failures(columns: Iterable[Column], rows: Rows) -> pd.DataFrame:
    """One line per image and row that beats FSR there in PSNR against x_H_rec: of the baselines and methods of others.

    Columns FAILURES, `difference` is FSR minus the row in dB; `columns` are of one protocol.
    """
    lines = []
    for column in _primary_psnr(columns):
        fsr, (_, scale, name, _) = column.of(FSR), column.place
        for upscaler in opponents(column.upscalers, rows):
            theirs = column.of(upscaler)
            for index in np.flatnonzero(fsr < theirs):
                numbers = float(fsr[index]), float(theirs[index]), float(fsr[index] - theirs[index])
                lines.append((scale, name, column.images[index], upscaler, *numbers))
    return pd.DataFrame(lines, columns=FAILURES)


def opponents(upscalers: Iterable[str], rows: Rows) -> list[str]:
    """The rows FSR is meant to beat: both baselines, and the methods of others."""
    return [name for name in upscalers if name in BASELINES or (rows[name].rival and rows[name].kind == "method")]


def _primary_psnr(columns: Iterable[Column]) -> list[Column]:
    return [column for column in columns if column.place[-1] == PRIMARY and column.metric == "psnr"]


def write_csv(path: Path, frame: pd.DataFrame) -> Path:
    """Write a frame: floats with eight significant digits, infinity as `inf`, NaN empty."""
    return write_text(path, frame.to_csv(index=False, float_format="%.8g", lineterminator="\n"))
