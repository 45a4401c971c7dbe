"""Everything random is drawn from a generator that is named, never from a global state.

A draw depends on (seed, purpose, index) alone, so a run that is stopped and resumed, or made in another order, draws
the same numbers.
"""

import hashlib

import torch


def generator(seed: int, purpose: str, index: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator on `device` for the `index`-th draw of `purpose` (e.g. "crops", 17) under `seed`."""
    digest = hashlib.sha256(f"{seed}/{purpose}/{index}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def integers(below: int, count: int, source: torch.Generator) -> list[int]:
    """`count` integers in [0, below)."""
    return torch.randint(below, (count,), generator=source).tolist()
