"""What memory a pass may take, and how that becomes rows of a strip and places for maps."""

from dataclasses import dataclass, field

import torch

from fsr.tiling.program import Step
from fsr.tiling.stores import FileStore, Given, MemoryStore, Store

CACHED = 2 * 2**20  # bytes of a strip that a processor's cache holds
LEAST_ROWS = 4


@dataclass
class Workspace:
    """Attributes:
    dtype: of maps whose kernel names none.
    allowance: bytes for maps and strips together; None for no limit.
    rows: of the image that comes out, in a strip; None chooses them.
    height: of that image.
    """

    dtype: torch.dtype
    allowance: int | None = None
    rows_asked: int | None = None
    height: int = 0
    held: int = 0
    peak: int = 0
    sizes: dict[int, int] = field(default_factory=dict)

    def rows(self, step: Step, source: Store, height: int, width: int) -> int:
        """Rows of a strip of what `step` makes, a multiple of what its kernel makes of one row."""
        up = step.kernel.up
        if self.rows_asked is not None:
            rows = -(-self.rows_asked * height // max(self.height, 1))
        else:
            wide = max(width * step.channels, source.width * source.channels * step.kernel.down // up)
            rows = max(LEAST_ROWS, CACHED // (wide * self.dtype.itemsize))
        return min(max(up, rows // up * up), -(-height // up) * up)

    def reading_rows(self, store: Store) -> int:
        """Rows to read at once of a map whose values are only looked at."""
        return max(1, CACHED // (store.width * store.channels * self.dtype.itemsize))

    def store(self, shape: tuple[int, int, int], dtype: torch.dtype, device: torch.device) -> Store:
        """A place for a map: in memory while the allowance lasts, else in the host's (of a GPU) or in a file."""
        size = shape[0] * shape[1] * shape[2] * dtype.itemsize
        if self.allowance is None or self.held + size <= self.allowance:
            made = MemoryStore(shape, dtype, device, device)
            self.held += size
            self.peak = max(self.peak, self.held)
            self.sizes[id(made)] = size
            return made
        if device.type != "cpu":
            return MemoryStore(shape, dtype, torch.device("cpu"), device)
        return FileStore(shape, dtype)

    def give_back(self, store: Store) -> None:
        self.held -= self.sizes.pop(id(store), 0)
        if not isinstance(store, Given):
            store.close()
