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


class Intervals(NamedTuple):
    """Means and their intervals of K rows, or of K x K pairs of rows: arrays of one shape, as `Interval` has numbers.

    Attributes:
        excludes_zero: where the whole interval lies on one side of zero.
    """

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @property
    def excludes_zero(self) -> np.ndarray:
        return (self.low > 0) | (self.high < 0)

    def at(self, *index: int) -> Interval:
        """One of them."""
        return Interval(*(float(each[index]) for each in self))


def bootstrap_means(strata: Sequence[np.ndarray], resamples: int, seed: int) -> Intervals:
    """Of K rows: the mean over `strata` of each stratum's mean, with the 2.5 and 97.5 percentiles of its resamples.

    Every stratum is resampled apart, with replacement and by the same draws for all rows. A row with a NaN has neither
    mean nor interval; an infinite value makes the mean infinite (NaN if both signs occur) and leaves the interval
    empty; so does a stratum of one image, from which nothing can be resampled.

    Args:
        strata: each (K, N), the N images of one set; N may differ from set to set.

    Raises:
        ValueError: no stratum, or one without images.
    """
    if not strata or any(stratum.ndim != 2 or not stratum.shape[1] for stratum in strata):
        raise ValueError("a mean needs at least one number; leave sets without images out before")
    with np.errstate(invalid="ignore"):
        mean = np.mean([stratum.mean(axis=1) for stratum in strata], axis=0)
    low, high = np.full(mean.shape, np.nan), np.full(mean.shape, np.nan)
    sound = np.isfinite(mean)
    if sound.any() and all(stratum.shape[1] > 1 for stratum in strata):
        drawn = [
            stratum[sound] @ _counts(stratum.shape[1], resamples, seed, index).T / stratum.shape[1]
            for index, stratum in enumerate(strata)
        ]
        low[sound], high[sound] = np.percentile(np.mean(drawn, axis=0), PERCENTILES, axis=1)
    return Intervals(mean, low, high)


def bootstrap_mean(values: Sequence[float] | np.ndarray, resamples: int, seed: int) -> Interval:
    """`bootstrap_means` of one row of (N,) values in one stratum.

    Raises:
        ValueError: no values, or a NaN among them.
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or not sample.size or np.isnan(sample).any():
        raise ValueError("a mean needs at least one number and no NaN; leave images without a number out before")
    return bootstrap_means([sample[None]], resamples, seed).at(0)


def paired_means(strata: Sequence[np.ndarray], resamples: int, seed: int) -> Intervals:
    """(K, K) `bootstrap_means` of row i minus row j, paired by image; what pairs [j, i] is the mirror of [i, j].

    Args:
        strata: as of `bootstrap_means`.
    """
    rows = len(strata[0])
    first, second = np.triu_indices(rows, k=1)
    found = Intervals(*(np.full((rows, rows), np.nan) for _ in range(3)))
    if len(first):
        pairs = bootstrap_means([differences(each[first], each[second]) for each in strata], resamples, seed)
        for target, there, back in zip(found, pairs, (pairs.mean, pairs.high, pairs.low), strict=True):
            target[first, second], target[second, first] = there, -back
    return found


def paired_difference(
    a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray, resamples: int, seed: int
) -> Interval:
    """`bootstrap_mean` of a - b, both (N,) over the same images; two equal infinities differ by zero.

    Raises:
        ValueError: different lengths, no values, or a NaN among them.
    """
    return bootstrap_mean(differences(a, b), resamples, seed)


def differences(a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray) -> np.ndarray:
    """a - b, of any shape; zero where both are the same infinity.

    Raises:
        ValueError: different shapes.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"paired values must be of the same images, not {a.size} and {b.size}; benchmark both again")
    with np.errstate(invalid="ignore"):
        return np.where(a == b, 0.0, a - b)


@lru_cache(maxsize=8)
def _counts(images: int, resamples: int, seed: int, stratum: int) -> np.ndarray:
    """(resamples, images) how often each image was drawn: a draw takes as many as there are, with replacement."""
    generator = np.random.default_rng([seed, stratum] if stratum else seed)
    draws = generator.integers(images, size=(resamples, images)) + images * np.arange(resamples)[:, None]
    return np.bincount(draws.ravel(), minlength=resamples * images).reshape(resamples, images).astype(np.float64)
