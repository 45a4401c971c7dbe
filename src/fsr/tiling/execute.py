"""Running a program strip by strip."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fsr.tiling.program import Affine, Norm, Program, Step, Whole, last_uses, needs_statistics
from fsr.tiling.stores import Given, Store
from fsr.tiling.workspace import Workspace

ALMOST = 0.999  # of the work, when the last strip is made


class Moments:
    """Mean and squared deviation per channel of a map, added up as its rows are written.

    Of float32, differences from the first strip's mean are added, which lose nothing where the mean is large beside the
    deviation, and sums of strips in double precision. Narrower numbers are added in double precision, since there the
    last bit of a statistic, which depends on the strips, would decide how a whole channel is rounded.
    """

    def __init__(self) -> None:
        self.count = 0
        self.shift: Tensor | None = None
        self.sums: Tensor | None = None
        self.squares: Tensor | None = None

    def add(self, rows: Tensor) -> None:
        pixels = rows.reshape(-1, rows.shape[-1])
        exact = pixels.dtype != torch.float32
        pixels = pixels.double() if exact else pixels
        if self.shift is None:
            self.shift = torch.zeros_like(pixels[0]) if exact else pixels.mean(0)
            self.sums = self.squares = torch.zeros_like(self.shift, dtype=torch.float64)
        apart = pixels - self.shift
        self.sums = self.sums + apart.sum(0).double()
        self.squares = self.squares + apart.square_().sum(0).double()
        self.count += len(pixels)

    def affine(self, norm: Norm) -> Affine:
        """What group normalisation by these moments does to each channel."""
        apart = self.sums / self.count
        mean = self.shift.double() + apart
        spread = (self.squares / self.count - apart.square()).clamp(min=0)
        group = mean.view(norm.groups, -1).mean(1, keepdim=True)
        variance = (spread + (mean.view(norm.groups, -1) - group).square().flatten()).view(norm.groups, -1).mean(1)
        deviation = (variance + norm.eps).sqrt().repeat_interleave(len(mean) // norm.groups)
        weight = norm.weight.double() / deviation
        bias = norm.bias.double() - group.expand(-1, len(mean) // norm.groups).flatten() * weight
        return Affine(weight.float(), bias.float())


@dataclass
class Window:
    """The rows of a step's source that a strip is made from, as its kernel wants them; it slides down the map, and what
    two strips share is read and normalised once.
    """

    source: Store
    step: Step
    affine: Affine | None
    buffer: Tensor
    start: int = 0
    stop: int = 0

    def slide(self, start: int, stop: int) -> Tensor:
        """Rows `start` to `stop` of the source; some may lie beyond it."""
        shared = max(self.stop - start, 0) if self.stop else 0
        if shared:
            self.buffer[:shared] = self.buffer[start - self.start : start - self.start + shared].clone()
        first, last = max(start + shared, 0), min(stop, self.source.height)
        if last > first:
            self._prepare(self.source.read(first, last), self.buffer[first - start : last - start])
        self.start, self.stop = start, stop
        if start < 0 and not shared:
            self._beyond(self.buffer[:-start], self.buffer[-start])
        if stop > self.source.height:
            place = max(self.source.height, start + shared) - start
            self._beyond(self.buffer[place : stop - start], self.buffer[self.source.height - start - 1])
        return self.buffer[: stop - start]

    def _prepare(self, rows: Tensor, out: Tensor) -> None:
        if self.affine is None:
            out.copy_(rows)
        elif rows.dtype == out.dtype == torch.float32:
            torch.addcmul(self.affine.bias, rows, self.affine.weight, out=out)
        else:
            out.copy_(torch.addcmul(self.affine.bias, rows.float(), self.affine.weight))
        for act in self.step.source.acts:
            acted = act(out)
            if acted is not out:
                out.copy_(acted)

    def _beyond(self, rows: Tensor, nearest: Tensor) -> None:
        if self.step.kernel.edge == "zero":
            rows.zero_()
        else:
            rows.copy_(nearest.expand_as(rows))


class Run:
    """One pass of a program over one image's features (1, C, H, W).

    Args:
        told: what share of the work is done, after every strip; 1 at the end alone.
    """

    def __init__(self, program: Program, features: Tensor, workspace: Workspace, told: Callable[[float], None]) -> None:
        self.told, self.done, self.work = told, 0.0, workspace.work(program)
        self.program, self.workspace, self.device = program, workspace, features.device
        self.stores: dict[int, Store] = {0: Given(features)}
        self.last, self.wanted = last_uses(program), needs_statistics(program)
        self.moments: dict[int, Moments] = {}

    def result(self, finish: Callable[[int, Tensor], None]) -> None:
        """Run every step; rows of the last are given to `finish`, with the place of the first."""
        try:
            for index, step in enumerate(self.program.steps):
                final = index == len(self.program.steps) - 1
                if isinstance(step, Whole):
                    self._whole(step, index, finish if final else None)
                else:
                    self._strips(step, index, finish if final else None)
                for register in set(step.reads):
                    self._release(register, index)
                self.done += self.work[index]
            self.told(1.0)
        finally:
            for store in self.stores.values():
                store.close()

    def _release(self, register: int, index: int) -> None:
        if self.last[register] == index and register in self.stores:
            self.stores.pop(register).close()

    def _affine(self, step: Step | Whole) -> Affine | None:
        norm = step.source.norm
        if not isinstance(norm, Norm):
            return norm
        register = step.source.register
        if register not in self.moments:  # what the program was given: nobody has added it up
            store, moments = self.stores[register], Moments()
            rows = self.workspace.reading_rows(store)
            for start in range(0, store.height, rows):
                moments.add(store.read(start, min(start + rows, store.height)))
            self.moments[register] = moments
        return self.moments[register].affine(norm)

    def _strips(self, step: Step, index: int, finish: Callable[[int, Tensor], None] | None) -> None:
        source, kernel = self.stores[step.source.register], step.kernel
        height, width = source.height * kernel.up // kernel.down, source.width * kernel.up // kernel.down
        rows = self.workspace.rows(step)
        dtype = kernel.dtype or self.workspace.dtype
        most = rows * kernel.down // kernel.up + kernel.above + kernel.below
        buffer = torch.empty(most, source.width, source.channels, dtype=dtype, device=self.device)
        window = Window(source, step, self._affine(step), buffer)
        target = None if finish else self._target(step, index, height, width, dtype)
        moments = Moments() if step.target in self.wanted else None
        for start in range(0, height, rows):
            stop = min(start + rows, height)
            first = start * kernel.down // kernel.up - kernel.above
            last = stop * kernel.down // kernel.up + kernel.below
            made = kernel(window.slide(first, last))
            made = self._finished(step, made, start, stop)
            if moments:
                moments.add(made)
            if finish:
                finish(start, made)
            else:
                target.write(start, made)
            self.told(min(self.done + self.work[index] * stop / height, ALMOST))
        if moments:
            self.moments[step.target] = moments
        if target is not None:
            self._replace(step, target)

    def _finished(self, step: Step, made: Tensor, start: int, stop: int) -> Tensor:
        for addend in step.addends:
            added = self.stores[addend.register].read(start, stop)
            if addend.convolution is not None:
                added = addend.convolution(added.to(addend.convolution.dtype))
            made.add_(added)
        for act in step.after:
            made = act(made)
        return made

    def _target(self, step: Step, index: int, height: int, width: int, dtype: torch.dtype) -> Store:
        """A map that is read here for the last time is written over, where it has the size: its rows are always read
        before they are written.
        """
        shape = (height, width, step.channels)
        for register in step.reads:
            store = self.stores[register]
            same = (store.height, store.width, store.channels) == shape and store.dtype == dtype
            if self.last[register] == index and register and same:
                return store
        return self.workspace.store(shape, dtype)

    def _replace(self, step: Step, target: Store) -> None:
        for register in step.reads:
            if self.stores.get(register) is target:
                del self.stores[register]
        self.stores[step.target] = target

    def _whole(self, step: Whole, index: int, finish: Callable[[int, Tensor], None] | None) -> None:
        store = self.stores[step.source.register]
        features = store.read(0, store.height)
        made = step.run(features, self._affine(step))
        if finish:
            finish(0, made)
            return
        target = self._target(step, index, store.height, store.width, features.dtype)
        target.write(0, made)
        if step.target in self.wanted:
            self.moments[step.target] = Moments()
            self.moments[step.target].add(made)
        self._replace(step, target)
