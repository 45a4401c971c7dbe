"""How much freed memory a process keeps for its next tensor."""

import ctypes
import platform

# glibc hands each large block back to the system, which clears the pages of the next one; it reads these at its start.
KEPT = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}


def give_back() -> None:
    """Hand free memory back to the system: what images of many sizes leave between blocks in use adds up to gigabytes.

    Once an image: its own tensors still find their pages. Nothing happens where the C library is another than glibc.
    """
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
