"""Per-channel mean and deviation of features, over f_B and f_H together: the coordinates the flow lives in."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from fsr.flow.path import FeaturePair

MOMENTUM = 0.01

Average = Callable[[Tensor], Tensor]


def _own(moments: Tensor) -> Tensor:
    return moments


@dataclass(frozen=True)
class FeatureStatistics:
    """mean and std, (C,)."""

    mean: Tensor
    std: Tensor


def batch_statistics(pair: FeaturePair, average: Average = _own) -> FeatureStatistics:
    """Statistics of one batch; `average` takes moments to their mean over the processes that hold parts of it."""
    values = torch.cat([pair.f_B, pair.f_H]).double()
    moments = torch.stack([values.mean(dim=(0, 2, 3)), values.square().mean(dim=(0, 2, 3))])
    mean, square = average(moments)
    return FeatureStatistics(mean.float(), (square - mean.square()).clamp(min=0).sqrt().float())


def cache_statistics(pairs: Iterable[FeaturePair]) -> FeatureStatistics:
    """Exact statistics over many batches, in double precision.

    Raises:
        ValueError: no batch was given.
    """
    count, total, squares = 0, 0.0, 0.0
    for pair in pairs:
        values = torch.cat([pair.f_B, pair.f_H]).double()
        count += values.numel() // values.shape[1]
        total = total + values.sum(dim=(0, 2, 3))
        squares = squares + values.square().sum(dim=(0, 2, 3))
    if not count:
        raise ValueError("feature statistics need at least one crop; raise train.statistics_crops")
    mean = total / count
    return FeatureStatistics(mean.float(), (squares / count - mean.square()).clamp(min=0).sqrt().float())


def running_statistics(
    previous: FeatureStatistics | None, pair: FeaturePair, average: Average = _own
) -> FeatureStatistics:
    """The prototype's running statistics: the first batch initialises them, later ones weigh 0.01."""
    current = batch_statistics(pair, average)
    if previous is None:
        return current
    return FeatureStatistics(
        torch.lerp(previous.mean, current.mean, MOMENTUM), torch.lerp(previous.std, current.std, MOMENTUM)
    )
