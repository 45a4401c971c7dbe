"""Where feature maps wait between steps: memory as far as it goes, then a file that is gone afterwards.

Maps are (H, W, C), so that rows lie together.
"""

import errno
import os
import shutil
import tempfile
from typing import Protocol

import torch
from torch import Tensor


class Store(Protocol):
    """A feature map that is written and read by rows."""

    height: int
    width: int
    channels: int
    dtype: torch.dtype

    def read(self, start: int, stop: int) -> Tensor:
        """Rows (stop - start, W, C), on the device that computes; not to be changed."""
        ...

    def write(self, start: int, rows: Tensor) -> None: ...

    def close(self) -> None:
        """Give back what it takes."""
        ...


class MemoryStore:
    """In a tensor, on the device that computes or, where that is short of memory, in the host's."""

    def __init__(self, shape: tuple[int, int, int], dtype: torch.dtype, held: torch.device, used: torch.device) -> None:
        self.height, self.width, self.channels = shape
        self.tensor: Tensor = torch.empty(shape, dtype=dtype, device=held)
        self.used, self.dtype = used, dtype

    def read(self, start: int, stop: int) -> Tensor:
        return self.tensor[start:stop].to(self.used)

    def write(self, start: int, rows: Tensor) -> None:
        self.tensor[start : start + len(rows)].copy_(rows)

    def close(self) -> None:
        del self.tensor


class FileStore:
    """In an unnamed file of the folder for temporary ones (TMPDIR): the system's cache of files may use what memory is
    free, and the process itself holds strips only. It is gone with the process, however that ends.

    Raises:
        OSError: the folder has no room for it.
    """

    def __init__(self, shape: tuple[int, int, int], dtype: torch.dtype) -> None:
        self.height, self.width, self.channels = shape
        self.dtype = dtype
        self.row = self.width * self.channels * dtype.itemsize
        self.file = tempfile.TemporaryFile(prefix="fsr-")  # noqa: SIM115 - closed by close
        size = self.height * self.row
        if shutil.disk_usage(tempfile.gettempdir()).free < size:
            self.file.close()
            raise OSError(
                errno.ENOSPC,
                f"{tempfile.gettempdir()} has no room for {size / 2**20:.0f} MiB of features that memory may not "
                "hold; allow more (--memory), or set TMPDIR to a folder with room",
            )
        self.file.truncate(size)

    def read(self, start: int, stop: int) -> Tensor:
        rows = torch.empty(stop - start, self.width, self.channels, dtype=self.dtype)
        view, place = memoryview(rows.view(torch.uint8).view(-1).numpy()), start * self.row
        while view:
            done = os.preadv(self.file.fileno(), [view], place)
            if not done:
                raise OSError("a temporary file ended early; run again")
            view, place = view[done:], place + done
        return rows

    def write(self, start: int, rows: Tensor) -> None:
        rows = rows.to(self.dtype).contiguous()
        view, place = memoryview(rows.view(torch.uint8).view(-1).numpy()), start * self.row
        while view:
            done = os.pwrite(self.file.fileno(), view, place)
            view, place = view[done:], place + done

    def close(self) -> None:
        self.file.close()


class SplitStore:
    """The first rows in one store, the others in a second."""

    def __init__(self, first: Store, second: Store) -> None:
        self.first, self.second = first, second
        self.height, self.width, self.channels = first.height + second.height, first.width, first.channels
        self.dtype = first.dtype

    def read(self, start: int, stop: int) -> Tensor:
        edge = self.first.height
        if stop <= edge:
            return self.first.read(start, stop)
        if start >= edge:
            return self.second.read(start - edge, stop - edge)
        return torch.cat([self.first.read(start, edge), self.second.read(0, stop - edge)])

    def write(self, start: int, rows: Tensor) -> None:
        here = min(max(self.first.height - start, 0), len(rows))
        if here:
            self.first.write(start, rows[:here])
        if here < len(rows):
            self.second.write(start + here - self.first.height, rows[here:])

    def close(self) -> None:
        self.first.close()
        self.second.close()


class Given:
    """What the network was given: (1, C, H, W), read only."""

    def __init__(self, features: Tensor) -> None:
        self.tensor = features[0].permute(1, 2, 0)
        self.height, self.width, self.channels = self.tensor.shape
        self.dtype = features.dtype

    def read(self, start: int, stop: int) -> Tensor:
        return self.tensor[start:stop]

    def write(self, start: int, rows: Tensor) -> None:
        raise ValueError("what a network is given cannot be written")

    def close(self) -> None:
        del self.tensor
