"""Peak memory of this process."""

import resource
import sys

import torch


def peak_memory_gib(device: torch.device | str) -> float:
    """Peak resident memory (CPU) or allocated device memory (CUDA) since the process began, in GiB."""
    if torch.device(device).type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**30, 3)
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage counts bytes there, KiB elsewhere
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30, 3)
