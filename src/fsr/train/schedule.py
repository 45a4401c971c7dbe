"""What a run is: its name, its learning rate over steps, its budget of time."""

import time
from collections.abc import Set
from typing import Any

from fsr.config import Params
from fsr.files import sha256_of

RESUMABLE = {"cut", "trial_steps", "hours", "workers", "processes", "max_skipped", "checkpoint_every"}
RESUMABLE |= {"checkpoint_tail", "checkpoint_field"}  # activations made again are the same


def run_key(
    params: Params, definition: Any, manifest_sha256: str, autocast: str, unread: Set[str] = frozenset()
) -> str:
    """What defines a run: parameters that change its weights, its recipe's definition, and the cache's content.

    Args:
        unread: keys of `train` that its recipe does not read.
    """
    ignored = RESUMABLE | unread
    if not params.train.consistency.weight:
        ignored |= {"validate_every"}
    return sha256_of(
        params.train.model_dump(exclude=ignored), params.scales, autocast, params.seed, definition, manifest_sha256
    )


def learning_rate_factor(step: int, params: Params) -> float:
    """Linear warm-up, constant, then linear to zero."""
    train = params.train
    warmup = (step + 1) / train.warmup_steps if train.warmup_steps else 1.0
    return min(1.0, warmup, (1 - step / train.steps) / (1 - train.decay_from))


class Clock:
    """Seconds of a run, those before an interruption included."""

    def __init__(self, seconds: float = 0.0) -> None:
        self._start = time.monotonic() - seconds

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start
