"""One metric of all rows over the same images, and what follows of it: means, the best, differences of any two rows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from fsr.report.names import METRICS, Rows
from fsr.report.statistics import Interval, Intervals, bootstrap_means, differences, paired_means

PLACE = ["protocol", "scale", "set", "target"]
INFINITE, ALONE = "infinite ({} on some image): no interval", "one image: no interval"
WHY_INFINITE = {"hf_gain": "the bicubic base is flat"}  # of the other metrics: see no_interval_reason


@dataclass(frozen=True)
class Column:
    """Numbers of one metric at one place (PLACE).

    Attributes:
        place: values of PLACE.
        numbers: (rows, images), NaN where there is none.
        reasons: (rows,) why a row lacks numbers; empty where it has all.
    """

    place: tuple
    metric: str
    upscalers: tuple[str, ...]
    images: tuple[str, ...]
    numbers: np.ndarray
    reasons: tuple[str, ...]

    def of(self, upscaler: str) -> np.ndarray:
        """(images,) numbers of one row."""
        return self.numbers[self.upscalers.index(upscaler)]

    def first(self, images: int) -> "Column":
        """The same of its first images."""
        empty = np.isnan(self.numbers[:, :images]).any(axis=1)
        reasons = tuple(reason if lacks else "" for reason, lacks in zip(self.reasons, empty, strict=True))
        return replace(self, images=self.images[:images], numbers=self.numbers[:, :images], reasons=reasons)

    def only(self, upscalers: Sequence[str]) -> "Column":
        """The same of some rows, in their given order."""
        chosen = [self.upscalers.index(name) for name in upscalers]
        reasons = tuple(self.reasons[index] for index in chosen)
        return replace(self, upscalers=tuple(upscalers), numbers=self.numbers[chosen], reasons=reasons)


@dataclass(frozen=True)
class Resampling:
    """How intervals are drawn: how often (`benchmark.bootstrap`), and the seed."""

    resamples: int
    seed: int

    def means(self, columns: Sequence[Column]) -> Intervals:
        """(rows,) mean over columns (sets) of each row's mean over images."""
        return bootstrap_means([column.numbers for column in columns], self.resamples, self.seed)

    def pairs(self, columns: Sequence[Column]) -> Intervals:
        """(rows, rows) row i minus row j, paired by image."""
        return paired_means([column.numbers for column in columns], self.resamples, self.seed)


def columns(cells: pd.DataFrame) -> list[Column]:
    """Every metric at every place, in order of first appearance.

    Raises:
        ValueError: rows of one place were measured on different images.
    """
    groups = cells.groupby([*PLACE, "metric"], sort=False)
    return [_column(tuple(place), metric, part) for (*place, metric), part in groups]


def _column(place: tuple, metric: str, part: pd.DataFrame) -> Column:
    rows, upscalers = pd.factorize(part["upscaler"])
    places, images = pd.factorize(part["image"])
    times = np.zeros((len(upscalers), len(images)), dtype=int)
    np.add.at(times, (rows, places), 1)
    for name, counts in zip(upscalers, times, strict=True):
        if (counts != 1).any():
            where = f"{place[2]} at x{place[1]}"
            raise ValueError(f"{name} was not measured once on every image of {where}; benchmark it again")
    numbers = np.empty(times.shape)
    numbers[rows, places] = part["number"]
    reasons = [""] * len(upscalers)
    for index in np.flatnonzero(np.isnan(numbers).any(axis=1)):
        reasons[index] = _reason(part[rows == index])
    return Column(place, metric, tuple(upscalers), tuple(images), numbers, tuple(reasons))


def _reason(lines: pd.DataFrame) -> str:
    """Why a row lacks numbers, of its cells."""
    empty = lines[lines["number"].isna()]
    share = "" if len(empty) == len(lines) else f"{len(empty)} of {len(lines)} images: "
    return share + "; ".join(empty["reason"].unique())


def no_interval_reason(interval: Interval, metric: str) -> str:
    """Why a mean of a metric has no interval; empty if it has one."""
    if not np.isnan(interval.low):
        return ""
    return ALONE if np.isfinite(interval.mean) else INFINITE.format(WHY_INFINITE.get(metric, "equal to its target"))


def best_row(over: Sequence[Column], means: np.ndarray, rows: Rows, resampling: Resampling) -> str | None:
    """The best mean among the methods, where its paired interval against every other of them excludes zero.

    Args:
        over: the columns (sets) the means are of, of one metric and the same rows.
        means: (rows,).
    """
    better, upscalers = METRICS[over[0].metric].better, over[0].upscalers
    competing = [name for name in upscalers if rows[name].kind == "method"]
    known = [name for name in competing if not np.isnan(means[upscalers.index(name)])]
    if not better or len(known) < 2:
        return None
    first = max(known, key=lambda name: better * means[upscalers.index(name)])
    others = [name for name in known if name != first]
    gaps = [_gaps(column, first, others) for column in over]
    clear = bootstrap_means(gaps, resampling.resamples, resampling.seed).excludes_zero.all()
    return first if clear else None


def _gaps(column: Column, first: str, others: Sequence[str]) -> np.ndarray:
    """(others, images) the first row minus each of the others."""
    theirs = column.only(others).numbers
    return differences(np.broadcast_to(column.of(first), theirs.shape), theirs)
