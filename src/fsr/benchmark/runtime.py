"""What each row costs: milliseconds and FLOPs of its stages, memory, parameters; from an image and from a latent."""

import statistics
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import torch

from fsr.autoencoders import FrozenAutoencoder
from fsr.benchmark.cells import number
from fsr.config import Params
from fsr.config.rows import CEILING
from fsr.files import write_csv
from fsr.flow.field import VectorField
from fsr.images import RESAMPLINGS
from fsr.memory import is_out_of_memory
from fsr.plan.tracing import Tracer
from fsr.precision import autocast
from fsr.progress import progress_bar
from fsr.randomness import generator
from fsr.upscalers import Sample, Stage, Upscaler, build_upscalers

TOTAL = "total"
GIB = 2**30


@dataclass(frozen=True)
class Line:
    """What one stage of a row takes for a low-resolution image of `side` pixels; or the `reason` why it has none.

    Attributes:
        entry: what the row is given: an image, or the latent a generator has left.
        milliseconds: median over `rounds`, in which the rows took turns. relative: to the round trip's decode of an
            image of that size.
        peak_memory_gib: of the whole row beside weights: tensors that live at once (CPU), or allocated memory (CUDA).
    """

    scale: int
    side: int
    entry: str
    upscaler: str
    stage: str
    milliseconds: str
    relative: str
    gflops: str
    parameters: int
    peak_memory_gib: str
    device: str
    dtype: str
    threads: int
    rounds: int
    reason: str = ""


class Stopwatch:
    """A clock for rows: seconds and FLOPs by stage, added up where a stage comes twice."""

    def __init__(self, device: torch.device, tracer: Tracer | None = None) -> None:
        self.device, self.tracer = device, tracer
        self.seconds: dict[str, float] = defaultdict(float)
        self.flops: dict[str, int] = defaultdict(int)

    @contextmanager
    def __call__(self, stage: Stage) -> Iterator[None]:
        flops = self.tracer.flops if self.tracer else 0
        started = self._now()
        yield
        self.seconds[stage] += self._now() - started
        self.flops[stage] += (self.tracer.flops if self.tracer else 0) - flops

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


class Case:
    """One row at one size from one entry ("image" or "latent"): what its stages took in each round."""

    def __init__(
        self, upscaler: Upscaler, entry: str, scale: int, side: int, params: Params, autoencoder: FrozenAutoencoder
    ) -> None:
        self.upscaler, self.entry, self.scale, self.side = upscaler, entry, scale, side
        self.params, self.autoencoder, self.device = params, autoencoder, autoencoder.device
        self.rounds: list[dict[str, float]] = []
        self.flops: dict[str, int] = {}
        self.peak, self.reason = 0, ""

    def sample(self) -> Sample:
        """A fresh one, of which nothing is made but what the row is given. Its values are noise and do not matter."""
        source, side = generator(self.params.seed, "runtime", self.side), self.scale * self.side
        x_H = torch.rand(1, 3, side, side, generator=source).to(self.device)
        resampling = RESAMPLINGS["strict"]
        sample = Sample(self.autoencoder, resampling.low_resolution(x_H, self.scale), self.scale, x_H, resampling)
        if self.entry == "latent":
            sides = (self.side // self.autoencoder.factor,) * 2
            z_L = torch.randn(1, self.autoencoder.latent_channels, *sides, generator=source)
            sample.z_L = z_L.to(self.device)
        return sample

    def count(self) -> None:
        """FLOPs of each stage and the peak of memory, in a pass of their own; running out of memory is a result."""
        sample, cuda = self.sample(), self.device.type == "cuda"
        before = torch.cuda.memory_allocated(self.device) if cuda else 0
        if cuda:
            torch.cuda.reset_peak_memory_stats(self.device)
        with Tracer() as tracer:
            watch = Stopwatch(self.device, tracer)
            self._run(sample, watch)
        self.flops = dict(watch.flops)
        self.peak = torch.cuda.max_memory_allocated(self.device) - before if cuda else tracer.peak

    def measure(self) -> None:
        """Another round."""
        watch = Stopwatch(self.device)
        self._run(self.sample(), watch)
        self.rounds.append(dict(watch.seconds))

    def _run(self, sample: Sample, watch: Stopwatch) -> None:
        try:
            with torch.no_grad(), autocast(self.params.runtime.device, self.params.benchmark.dtype):
                self.upscaler(sample, watch)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            self.reason = "out of memory"

    def seconds(self, stage: str) -> float:
        """Median over rounds of a stage, or of all of them together."""
        return statistics.median(sum(taken.values()) if stage == TOTAL else taken[stage] for taken in self.rounds)

    def lines(self, unit: float | None, threads: int) -> Iterator[Line]:
        """A line a stage, and one of all.

        Args:
            unit: seconds of the round trip's decode; None where it ran out of memory.
        """
        place = (self.scale, self.side, self.entry, self.upscaler.name)
        parameters = self.upscaler.capabilities.parameters
        on = (str(self.device), self.params.benchmark.dtype, threads, len(self.rounds))
        if self.reason:
            yield Line(*place, TOTAL, "", "", "", parameters, "", *on, self.reason)
            return
        for stage in (*self.flops, TOTAL):
            seconds = self.seconds(stage)
            flops = sum(self.flops.values()) if stage == TOTAL else self.flops[stage]
            relative, reason = (number(seconds / unit), "") if unit else ("", "the round trip ran out of memory")
            peak = number(self.peak / GIB) if stage == TOTAL else ""
            milliseconds, gflops = number(1000 * seconds), number(flops / 1e9)
            yield Line(*place, stage, milliseconds, relative, gflops, parameters, peak, *on, reason)


def measure_runtime(
    params: Params,
    autoencoder: FrozenAutoencoder,
    field: VectorField,
    rivals: Mapping[str, Upscaler],
    output: Path,
    threads: int,
) -> None:
    """Write what every row of `benchmark.upscalers` takes at every scale and side, entry by entry, stage by stage.

    Rows take turns, so that whatever else the machine does troubles all of them alike; the first turn warms up.

    Raises:
        ValueError: unknown upscaler, or a row that cannot do a scale.
    """
    torch.set_num_threads(threads)
    upscalers, lines = build_upscalers(params.benchmark.upscalers, field, params.seed, rivals), []
    settings = params.benchmark.runtime
    with progress_bar("runtime", len(params.scales) * len(settings.sides) * (settings.rounds + 1)) as advance:
        for scale, side in product(params.scales, settings.sides):
            cases = [
                Case(upscaler, entry, scale, side, params, autoencoder)
                for upscaler in upscalers
                for entry in ("image", "latent")
                if entry in ("image", upscaler.capabilities.entry)
            ]
            for case in cases:
                case.count()
            for turn in range(settings.rounds + 1):
                for case in cases:
                    if not case.reason:
                        case.measure()
                advance(f"x{scale} {side} round {turn}")
            for case in cases:
                del case.rounds[:1]
            ceilings = (case for case in cases if case.upscaler.name == CEILING and not case.reason)
            unit = next((case.seconds("decode") for case in ceilings), None)
            lines += [line for case in cases for line in case.lines(unit, threads)]
    write_csv(output, [asdict(line) for line in lines], list(Line.__dataclass_fields__))
