"""What memory a pass may take, and how that becomes rows of a strip and places for maps."""

import psutil
import torch

from fsr.tiling.program import Program, Step, Whole
from fsr.tiling.settings import Tiling
from fsr.tiling.stores import FileStore, MemoryStore, SplitStore, Store

CACHED = 2 * 2**20  # bytes of a strip that a processor's cache holds
LAUNCHED = 128 * 2**20  # of one that keeps a GPU busy
LEAST_ROWS = 4
COPIES = 6  # a strip is there this often at once: read, normalised, transformed, made
SPARE = 128 * 2**20  # bytes for what libraries allocate themselves
Shape = tuple[int, int, int]


class Workspace:
    """Places and strips for one program and one size of image.

    Args:
        sides, channels: of what the program is given.
        kept: bytes that the caller holds, or will, beside what this process takes now.

    Raises:
        ValueError: the memory allowed does not hold even strips.
    """

    def __init__(self, program: Program, sides: tuple[int, int], channels: int, tiling: Tiling, kept: int = 0) -> None:
        self.dtype, self.asked = program.dtype, tiling.rows
        self.shapes = shapes(program, (*sides, channels))
        self.height = max(shape[0] for shape in self.shapes.values())
        self.device, self.kept = program.device, kept
        self.strip = CACHED if self.device.type == "cpu" else LAUNCHED
        self.limit = tiling.memory
        self.beside = max(self._working(step) for step in program.steps) + SPARE
        if self.limit is not None:
            lacking = -self._room()
            if lacking > 0:
                need = (self.limit + lacking) / 2**20
                raise ValueError(
                    f"a memory of {tiling.memory / 2**20:.0f} MiB is too small for this image, which takes "
                    f"{need:.0f} MiB with every feature in files; allow that much, or give a smaller image or tile"
                )

    def _room(self) -> int:
        """Bytes for maps: what the limit leaves beside what is taken now, strips, and what the caller keeps."""
        return self.limit - resident(self.device) - self.kept - self.beside

    def _working(self, step: Step | Whole) -> int:
        source, target = self.shapes[step.source.register], self.shapes[step.target]
        if isinstance(step, Whole):
            return COPIES * size_of(source, self.dtype)
        rows = self.rows(step)
        read = rows * step.kernel.down // step.kernel.up + step.kernel.above + step.kernel.below
        dtype = step.kernel.dtype or self.dtype
        return COPIES * (size_of((read, *source[1:]), dtype) + size_of((rows, *target[1:]), dtype))

    def rows(self, step: Step) -> int:
        """Rows of a strip of what `step` makes, a multiple of what its kernel makes of one row."""
        up, (height, width, channels) = step.kernel.up, self.shapes[step.target]
        if self.asked is not None:
            rows = -(-self.asked * height // self.height)
        else:
            source = self.shapes[step.source.register]
            wide = max(width * channels, source[1] * source[2] * step.kernel.down // up)
            rows = max(LEAST_ROWS, self.strip // (wide * self.dtype.itemsize))
        return min(max(up, rows // up * up), height)

    def work(self, program: Program) -> list[float]:
        """The share of each step in all their multiplications, about; attention not counted."""
        counts = []
        for step in program.steps:
            (_, _, inputs), (height, width, outputs) = self.shapes[step.source.register], self.shapes[step.target]
            reach = step.kernel.above + step.kernel.below + 1 if isinstance(step, Step) and step.kernel.channels else 1
            counts.append(height * width * outputs * (inputs * reach**2 if reach > 1 else 1))
        return [count / sum(counts) for count in counts]

    def reading_rows(self, store: Store) -> int:
        """Rows to read at once of a map whose values are only looked at."""
        return max(1, self.strip // (store.width * store.channels * self.dtype.itemsize))

    def store(self, shape: Shape, dtype: torch.dtype) -> Store:
        """A place for a map: in memory while the allowance lasts, the rest in the host's (of a GPU) or in a file."""
        height, *row = shape
        kept = height
        if self.limit is not None:
            kept = min(height, max(self._room(), 0) // size_of((1, *row), dtype))
        first = MemoryStore((kept, *row), dtype, self.device, self.device)
        if kept == height:
            return first
        rest = (height - kept, *row)
        if self.device.type != "cpu":
            return SplitStore(first, MemoryStore(rest, dtype, torch.device("cpu"), self.device))
        return SplitStore(first, FileStore(rest, dtype))


def shapes(program: Program, given: Shape) -> dict[int, Shape]:
    """(H, W, C) of every register, of a program that is `given` a map."""
    known = {0: given}
    for step in program.steps:
        height, width, _ = known[step.source.register]
        if isinstance(step, Step):
            up, down = step.kernel.up, step.kernel.down
            height, width = height * up // down, width * up // down
        known[step.target] = (height, width, step.channels)
    return known


def size_of(shape: Shape, dtype: torch.dtype) -> int:
    """Bytes of a map."""
    return shape[0] * shape[1] * shape[2] * dtype.itemsize


def resident(device: torch.device) -> int:
    """Bytes this process takes now: resident memory, or what is allocated on a GPU."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    return psutil.Process().memory_info().rss
