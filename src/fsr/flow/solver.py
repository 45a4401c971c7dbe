"""Solvers of df/dt = v(f, t) from t = 0 to 1. Only one-step Euler is the method; the others are diagnostics."""

from collections.abc import Callable

import torch
from torch import Tensor

Velocity = Callable[[Tensor, float], Tensor]


def euler(velocity: Velocity, f: Tensor, steps: int = 1) -> Tensor:
    """Explicit Euler with `steps` equal steps.

    Raises:
        ValueError: steps below 1.
    """
    _check(steps)
    for index in range(steps):
        f = f + velocity(f, index / steps) / steps
    return f


def heun(velocity: Velocity, f: Tensor, steps: int) -> Tensor:
    """Heun's second-order method with `steps` equal steps, two evaluations each.

    Raises:
        ValueError: steps below 1.
    """
    _check(steps)
    for index in range(steps):
        first = velocity(f, index / steps)
        second = velocity(f + first / steps, (index + 1) / steps)
        f = f + (first + second) / (2 * steps)
    return f


def stochastic_start(f: Tensor, mask: Tensor, eta: float, source: torch.Generator) -> Tensor:
    """f + eta * mask * N(0, I): a start for the stochastic one-step diagnostic; `mask` in [0, 1], (B, 1 or C, H, W)."""
    noise = torch.randn(f.shape, generator=source).to(f)
    return f + eta * mask * noise


def _check(steps: int) -> None:
    if steps < 1:
        raise ValueError(f"a solver needs at least one step, not {steps}")
