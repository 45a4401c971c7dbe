"""Timing several things in turns, so that whatever else the machine does troubles all of them alike."""

import time
from collections.abc import Callable, Mapping

import torch

from fsr.progress import progress_bar

ROUNDS = 5


def seconds_of(call: Callable[[], object], device: torch.device | str) -> float:
    """Wall-clock seconds of a call, what it started on `device` included."""
    started = time.perf_counter()
    call()
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def in_turns(what: str, measures: Mapping[str, Callable[[], None]]) -> None:
    """Call each of the named measures in every round: one to warm up, then ROUNDS that count."""
    with progress_bar(what, (ROUNDS + 1) * len(measures)) as advance:
        for _ in range(ROUNDS + 1):
            for name, measure in measures.items():
                measure()
                advance(name)
