"""Tables of numbers from the benchmark's cells: means with intervals, paired differences, one line per image."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from fsr.files import write_text
from fsr.report.names import BASE, BASELINES, FSR, METRICS, PRIMARY, ROWS
from fsr.report.statistics import Interval, bootstrap_mean, differences, paired_difference

PLACE = ["protocol", "scale", "set", "target"]
NO_INTERVAL = {True: "infinite (equal to its target on some image): no interval", False: "one image: no interval"}


def values(cells: pd.DataFrame, upscaler: str, metric: str) -> np.ndarray:
    """(images,) numbers of one row and metric, in file order; `cells` of one place (PLACE)."""
    return cells.loc[(cells["upscaler"] == upscaler) & (cells["metric"] == metric), "number"].to_numpy()


def summarise(cells: pd.DataFrame, resamples: int, seed: int) -> pd.DataFrame:
    """One line per protocol, scale, set, target, upscaler and metric: images, mean, low, high, reason, best.

    A mean is empty, with its reason, if one image has no number. `best` marks the best mean among the methods (not
    diagnostics, not the ceiling) where the paired interval of its difference to the runner-up excludes zero.
    """
    lines = []
    for place, part in _grouped(cells, [*PLACE, "upscaler", "metric"]):
        interval, reason = _mean(part, resamples, seed)
        lines.append((*place, len(part), *interval, reason))
    columns = [*PLACE, "upscaler", "metric", "images", "mean", "low", "high", "reason"]
    summary = pd.DataFrame(lines, columns=columns).assign(best=False)
    measured = dict(_grouped(cells, [*PLACE, "metric"]))
    for place, column in _grouped(summary, [*PLACE, "metric"]):
        winner = _clear_winner(column, measured[place], resamples, seed)
        summary.loc[column.index[column["upscaler"] == winner], "best"] = True
    return summary


def _mean(part: pd.DataFrame, resamples: int, seed: int) -> tuple[Interval, str]:
    empty = part[part["number"].isna()]
    if len(empty):
        share = "" if len(empty) == len(part) else f"{len(empty)} of {len(part)} images: "
        return Interval(np.nan, np.nan, np.nan), share + "; ".join(empty["reason"].unique())
    interval = bootstrap_mean(part["number"], resamples, seed)
    return interval, no_interval_reason(interval)


def no_interval_reason(interval: Interval) -> str:
    """Why a mean has no interval; empty if it has one."""
    return NO_INTERVAL[not np.isfinite(interval.mean)] if np.isnan(interval.low) else ""


def _clear_winner(column: pd.DataFrame, here: pd.DataFrame, resamples: int, seed: int) -> str | None:
    metric = column["metric"].iloc[0]
    competes = column["upscaler"].map(lambda upscaler: ROWS[upscaler].kind == "method")
    rivals = column[column["mean"].notna() & competes]
    ranked = rivals.sort_values("mean", ascending=not METRICS[metric].higher_is_better, kind="stable")["upscaler"]
    if len(ranked) < 2:
        return None
    first, second = (values(here, upscaler, metric) for upscaler in ranked[:2])
    return ranked.iloc[0] if paired_difference(first, second, resamples, seed).excludes_zero else None


def benchmark_frame(summary: pd.DataFrame, absent: pd.DataFrame) -> pd.DataFrame:
    """The summary, one line per protocol, scale, set, target and upscaler, then the sets that are not available.

    Columns `<metric>`, `<metric>_low`, `<metric>_high`; `reasons` says why any of them is empty.

    Args:
        absent: as `Benchmark` has it; its lines have 0 images.
    """
    lines, metrics = [], _measured(summary)
    for place, part in _grouped(summary, [*PLACE, "upscaler"]):
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


def _measured(frame: pd.DataFrame) -> list[str]:
    """The metrics that occur, in the tables' order."""
    return [metric for metric in METRICS if metric in set(frame["metric"])]


def difference_frame(cells: pd.DataFrame, resamples: int, seed: int) -> pd.DataFrame:
    """PSNR of each upscaler minus each baseline's in dB, paired by image; `wins` counts images where it is higher."""
    lines = []
    for place, part in _grouped(cells[cells["metric"] == "psnr"], PLACE):
        for upscaler in part["upscaler"].unique():
            for baseline in [name for name in BASELINES if name != upscaler]:
                pair = values(part, upscaler, "psnr"), values(part, baseline, "psnr")
                interval, wins = paired_difference(*pair, resamples, seed), int((differences(*pair) > 0).sum())
                lines.append((*place, upscaler, baseline, len(pair[0]), *interval, wins, no_interval_reason(interval)))
    measured = ["images", "difference", "low", "high", "wins", "reason"]
    return pd.DataFrame(lines, columns=[*PLACE, "upscaler", "baseline", *measured])


def per_image_frame(cells: pd.DataFrame) -> pd.DataFrame:
    """One line per place, image and upscaler, a column per metric, its values as text; `reasons` of empty ones."""
    keys, metrics = ("protocol", "scale", "set", "image", "upscaler", "target"), _measured(cells)
    values: dict[tuple, dict[str, str]] = {}
    reasons: dict[tuple, dict[str, str]] = {}
    for *place, metric, value, reason in cells[[*keys, "metric", "value", "reason"]].itertuples(index=False):
        values.setdefault(tuple(place), {})[metric] = value
        reasons.setdefault(tuple(place), {})[metric] = reason
    return pd.DataFrame(
        dict(zip(keys, place, strict=True))
        | {metric: measured.get(metric, "") for metric in metrics}
        | {"reasons": _reasons(reasons[place], metrics)}
        for place, measured in values.items()
    )


def gains(cells: pd.DataFrame) -> pd.DataFrame:
    """One line per scale and image: PSNR in dB against x_H_rec of feature bicubic, of FSR, and FSR minus that.

    Columns scale, set, image, base, fsr, gain; `cells` of one protocol.
    """
    primary = cells[(cells["target"] == PRIMARY) & (cells["metric"] == "psnr")]
    frames = []
    for (scale, name), part in _grouped(primary, ["scale", "set"]):
        base, fsr = values(part, BASE, "psnr"), values(part, FSR, "psnr")
        images = part.loc[part["upscaler"] == FSR, "image"].to_numpy()
        columns = {
            "scale": scale,
            "set": name,
            "image": images,
            "base": base,
            "fsr": fsr,
            "gain": differences(fsr, base),
        }
        frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True)


def write_csv(path: Path, frame: pd.DataFrame) -> Path:
    """Write a frame: floats with eight significant digits, infinity as `inf`, NaN empty."""
    return write_text(path, frame.to_csv(index=False, float_format="%.8g", lineterminator="\n"))


def _grouped(frame: pd.DataFrame, keys: list[str]) -> Iterator[tuple[tuple[str, ...], pd.DataFrame]]:
    """Groups in order of first appearance."""
    return iter(frame.groupby(keys, sort=False))
