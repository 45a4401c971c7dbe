"""Which crops a pass sees, and how they are there in time.

Samples are numbered over the whole run, and everything about one (its crop, its random numbers) depends on its number
alone. So a resumed run, several processes, or accumulation in place of a larger batch see the same samples.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from fsr.config import Params
from fsr.latents import LatentBatch, LatentCache
from fsr.randomness import generator


@dataclass(frozen=True)
class Pass:
    """What one process works on at a time: the numbers of its samples, their crops, and the scale."""

    samples: tuple[int, ...]
    crops: tuple[int, ...]
    scale: int


def crop_of(sample: int, crops: int, seed: int) -> int:
    """The crop a sample shows: each crop once in every round of as many samples, in another order each round."""
    turn, place = divmod(sample, crops)
    return _order(turn, crops, seed)[place]


@lru_cache(maxsize=2)
def _order(turn: int, crops: int, seed: int) -> tuple[int, ...]:
    return tuple(torch.randperm(crops, generator=generator(seed, "order", turn)).tolist())


class Passes(Sampler[Pass]):
    """Every pass of one process, from the first of optimiser step `step` on; steps take the scales in turns.

    Args:
        crops: how many the cache has.
        rank, processes: which of how many parts of each batch is this process's.
    """

    def __init__(self, params: Params, crops: int, step: int, rank: int, processes: int) -> None:
        self.params, self.crops, self.step, self.rank, self.processes = params, crops, step, rank, processes

    def __iter__(self) -> Iterator[Pass]:
        train, scales = self.params.train, self.params.scales
        own = train.batch // self.processes
        for index in range(self.step * train.accumulation, train.steps * train.accumulation):
            start = index * train.batch + self.rank * own
            samples = tuple(range(start, start + own))
            crops = tuple(crop_of(sample, self.crops, self.params.seed) for sample in samples)
            yield Pass(samples, crops, scales[index // train.accumulation % len(scales)])


class _Crops(Dataset):
    """The cache, read by passes."""

    def __init__(self, cache: LatentCache) -> None:
        self.cache = cache

    def __getitem__(self, which: Pass) -> tuple[Pass, LatentBatch]:
        return which, self.cache.batch(list(which.crops), which.scale)


class Feed:
    """Passes with their crops, on the device; counts the seconds a step has waited for them."""

    def __init__(self, cache: LatentCache, passes: Passes, workers: int, device: torch.device) -> None:
        self.device, self.waited = device, 0.0
        self._batches = iter(
            DataLoader(
                _Crops(cache),
                sampler=passes,
                batch_size=None,
                num_workers=workers,
                prefetch_factor=2 if workers else None,
                pin_memory=device.type == "cuda",
                generator=torch.Generator(),
            )
        )

    def next(self) -> tuple[Pass, LatentBatch]:
        """The next pass.

        Raises:
            StopIteration: the run is over.
        """
        started = time.monotonic()
        which, batch = next(self._batches)
        batch = batch.to(self.device)
        self.waited += time.monotonic() - started
        return which, batch
