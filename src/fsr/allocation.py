"""How much freed memory a process keeps for its next tensor."""

# glibc hands each large block back to the system, which clears the pages of the next one; it reads these at its start.
KEPT = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}
