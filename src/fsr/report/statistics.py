"""Means over images with percentile bootstrap intervals; the same numbers give the same interval, always."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

PERCENTILES = (2.5, 97.5)


class Interval(NamedTuple):
    """A mean (NaN where undefined) and its 95 % bootstrap interval (`low` and `high`, NaN where there is none)."""

    mean: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of zero; False without an interval."""
        return self.low > 0 or self.high < 0


def bootstrap_mean(values: Sequence[float] | np.ndarray, resamples: int, seed: int) -> Interval:
    """Mean of `values` (N,) and the 2.5 and 97.5 percentiles of the means of `resamples` draws with replacement.

    An infinite value makes the mean infinite (NaN if both signs occur) and leaves the interval empty; so does N = 1,
    from which nothing can be resampled.

    Raises:
        ValueError: no values, or a NaN among them.
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or not sample.size or np.isnan(sample).any():
        raise ValueError("a mean needs at least one number and no NaN; leave images without a number out before")
    with np.errstate(invalid="ignore"):
        mean = float(sample.mean())
    if not np.isfinite(mean) or sample.size == 1:
        return Interval(mean, np.nan, np.nan)
    low, high = np.percentile(sample[_draws(sample.size, resamples, seed)].mean(axis=1), PERCENTILES)
    return Interval(mean, float(low), float(high))


def paired_difference(
    a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray, resamples: int, seed: int
) -> Interval:
    """`bootstrap_mean` of a - b, both (N,) over the same images; two equal infinities differ by zero.

    Raises:
        ValueError: different lengths, no values, or a NaN among them.
    """
    return bootstrap_mean(differences(a, b), resamples, seed)


def differences(a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray) -> np.ndarray:
    """a - b per image (N,), zero where both are the same infinity.

    Raises:
        ValueError: different lengths.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"paired values must be of the same images, not {a.size} and {b.size}; benchmark both again")
    with np.errstate(invalid="ignore"):
        return np.where(a == b, 0.0, a - b)


@lru_cache(maxsize=32)
def _draws(count: int, resamples: int, seed: int) -> np.ndarray:
    """(resamples, count) indices in [0, count)."""
    return np.random.default_rng(seed).integers(count, size=(resamples, count))
