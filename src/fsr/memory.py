"""Memory of this process: its peak, and how running out of it shows."""

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

CPU_WORDS = ("can't allocate memory", "Cannot allocate memory", "could not create a primitive")


def peak_memory_gib(device: torch.device | str) -> float:
    """Peak resident memory (CPU) or allocated device memory (CUDA) since the process began, in GiB."""
    if torch.device(device).type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**30, 3)
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage counts bytes there, KiB elsewhere
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30, 3)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: Python's, CUDA's, or one of torch's CPU allocator or oneDNN."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in CPU_WORDS)


@contextmanager
def memory_explained(what: str, remedy: str) -> Iterator[None]:
    """Make running out of memory inside the block an error in one line.

    Raises:
        MemoryError: `what` ran out of memory; the message says so and what to do.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise MemoryError(f"{what} ran out of memory; {remedy}") from error
