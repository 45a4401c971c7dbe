"""Large images in overlapping tiles, blended where they overlap."""

from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor

OVERLAP = 0.25  # of a tile's side


def run_in_tiles(run: Callable[[Tensor], Tensor], x: Tensor, tile: int | None, up: int, down: int) -> Tensor:
    """`run` of x (B, C, H, W), whose output is up/down times as large; whole where no side is longer than `tile`.

    Tiles reach `tile` pixels of x and overlap by a quarter; in the overlap both are faded linearly. What a network
    takes from beyond a tile is lost, so the result is close to the whole one and not equal to it.
    """
    height, width = x.shape[-2:]
    if tile is None or max(height, width) <= tile:
        return run(x)
    total, weights = None, None
    for top, left in product(_starts(height, tile, down), _starts(width, tile, down)):
        part = run(x[..., top : top + tile, left : left + tile])
        if total is None:
            shape = (*part.shape[:2], height * up // down, width * up // down)
            total, weights = part.new_zeros(shape, dtype=torch.float32), part.new_zeros(shape[2:], dtype=torch.float32)
        weight = _fade(part.shape[-2], part)[:, None] * _fade(part.shape[-1], part)
        y, x_ = top * up // down, left * up // down
        place = (..., slice(y, y + part.shape[-2]), slice(x_, x_ + part.shape[-1]))
        total[place] += part.float() * weight
        weights[place] += weight
    return (total / weights).to(part.dtype)


def _starts(length: int, tile: int, multiple: int) -> list[int]:
    """Where tiles begin, the last one flush with the end; multiples of `multiple`, as `length` is."""
    if length <= tile:
        return [0]
    step = max(multiple, int(tile * (1 - OVERLAP)) // multiple * multiple)
    return [*range(0, length - tile, step), length - tile]


def _fade(length: int, like: Tensor) -> Tensor:
    """Weights (length,) that rise from the ends over the overlap; never zero, so that borders are covered."""
    distance = torch.arange(1, length + 1, device=like.device, dtype=torch.float32)
    return torch.minimum(distance, distance.flip(0)).clamp(max=max(1, round(length * OVERLAP)))
