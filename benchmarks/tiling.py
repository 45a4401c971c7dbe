"""Exact tiles beside whole tensors and beside the tiles others make: time, difference, seams, tones and memory.

    python benchmarks/tiling.py [--vae flux] [--cut f3] [--side 256] [--scale 2] [--rows 32 64 128] [--memory 2GB]
    python benchmarks/tiling.py --large [--vae flux] [--side 1024] [--memory 6GiB]

Two tables: decoding the latents of a high-resolution image, where diffusers' tiles can be compared, and upscaling those
of the low-resolution one. All ways have the autoencoder, the field and the latents in common; they take turns, so that
what else runs on the machine troubles all of them alike. The memory of each is measured in a process of its own, and
those that are to keep within --memory are timed there too, since a limit counts all that a process holds.
Weights of flux and taef1 are random, and so is the field: neither changes what is computed. Prints Markdown.
"""

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny
from PIL import Image, ImageDraw
from safetensors.torch import load_file, save_file
from shared import Peak, random_flux
from torch import Tensor, nn

from fsr.autoencoders import CUTS, FrozenAutoencoder, load_autoencoder, weights_sha256
from fsr.cli.parameters import merged_params
from fsr.config import Params
from fsr.flow.field import VectorField
from fsr.flow.path import FeaturePair
from fsr.flow.stats import batch_statistics
from fsr.images import read_image, shrink, to_bytes, write_image
from fsr.mirror import mirror_root
from fsr.pipeline import ImagePipeline
from fsr.precision import DTYPES
from fsr.progress import progress_bar
from fsr.tiling import Renderer, Tiling, parse_memory

ROOT = Path(__file__).parents[1]
STUDIES = {"embedded": (), "taef2": ("experiments/taef2.yaml",), "flux": ("experiments/flux.yaml",), "taef1": ()}
PHOTOGRAPH = "datasets/Urban100/HR/img_094.png"  # of the mirror: its tones differ most from part to part
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
FIELD_SCALES = [2, 4]
COARSE = 32  # pixels: tiles of diffusers' must be multiples of it to overlap by a quarter in whole latents
ALONG = 32  # pixels along a border over which an error is averaged
PERIOD = 8  # pixels of a latent: enlargements give any error a structure of this period, which is no seam
MOST_SECONDS, MOST_DIFFERENCE = 1.35, 1e-4  # of whole tensors; float32
Overlap = tuple[int, int]  # pixels [start, stop) that two tiles share; none where they only meet (start == stop)


@dataclass(frozen=True)
class Borders:
    """Where tiles of an image meet, from above to below and from left to right."""

    rows: tuple[Overlap, ...] = ()
    columns: tuple[Overlap, ...] = ()


@dataclass(frozen=True)
class Way:
    """One way to make an image.

    Attributes:
        borders: of its tiles; None where they are in no one place.
        exact: whether it claims to make what whole tensors do.
        memory: bytes that the process is to keep within; such a way has a process of its own, in which it is timed too.
    """

    name: str
    run: Callable[[], Tensor]
    borders: Borders | None = None
    exact: bool = False
    memory: int | None = None


@dataclass
class Measured:
    """A way's image, the seconds of its turns, and its memory in bytes; and why something of it is missing.

    Attributes:
        taken: what the way adds to a process that has loaded the networks. peak: of that whole process.
    """

    way: Way
    image: Tensor | None = None
    seconds: list[float] = field(default_factory=list)
    reason: str = ""
    taken: int | None = None
    peak: int | None = None


@dataclass(frozen=True)
class Subject:
    """What the ways have in common: z_H are latents of an image as large as what z_L become when upscaled."""

    renderer: Renderer
    z_L: Tensor
    z_H: Tensor
    scale: int

    @property
    def autoencoder(self) -> FrozenAutoencoder:
        return self.renderer.autoencoder

    @property
    def sides(self) -> tuple[int, int]:
        """(H, W) of the images that come out."""
        height, width = (side * self.autoencoder.factor for side in self.z_H.shape[-2:])
        return height, width


def seam_energy(error: Tensor, borders: Borders) -> float:
    """How much more an error (B, C, H, W) changes across the borders of tiles than inside them: a ratio of energies.

    The error is averaged over ALONG pixels in the direction of the border, so that a line counts and texture does not.
    Energy is the mean square of its change from the last pixel before a border (an overlap) to the first one behind it,
    and inside, of its change over as many pixels within a tile, begun at like places of the latent's grid. 1: no border
    can be told; NaN: there is none.
    """
    found = [_energies(error, borders.rows), _energies(error.transpose(-1, -2), borders.columns)]
    across, inside = (sum(parts) for parts in zip(*found, strict=True))
    return across / inside if inside else (math.inf if across else math.nan)


def _energies(error: Tensor, overlaps: tuple[Overlap, ...]) -> tuple[float, float]:
    """Sums over the borders between rows: the energy across each, and that of as long a way inside tiles."""
    along = min(ALONG, error.shape[-1])
    profile = F.avg_pool2d(error.double(), (1, along))
    across, inside = 0.0, 0.0
    for start, stop in overlaps:
        reach = stop - start + 1
        energy = (profile[..., reach:, :] - profile[..., :-reach, :]).square().mean((0, 1, 3))
        first = torch.arange(len(energy))
        within = first % PERIOD == (start - 1) % PERIOD
        for begin, end in overlaps:
            within &= (first >= end) | (first + reach < begin)
        if stop < error.shape[-2] and within.any():
            across += energy[start - 1].item()
            inside += energy[within].mean().item()
    return across, inside


def tone_step(error: Tensor, borders: Borders) -> float:
    """Mean absolute difference of neighbouring tiles' mean errors, per colour; NaN where there is one tile."""
    rows, columns = _parts(error.shape[-2], borders.rows), _parts(error.shape[-1], borders.columns)
    tones = [[error[..., a:b, c:d].double().mean((-1, -2)) for c, d in columns] for a, b in rows]
    grid = torch.stack([torch.stack(row) for row in tones])
    steps = torch.cat([grid.diff(dim=axis).abs().flatten() for axis in (0, 1)])
    return steps.mean().item() if len(steps) else math.nan


def _parts(length: int, overlaps: tuple[Overlap, ...]) -> list[tuple[int, int]]:
    """What belongs to one tile only, [start, stop)."""
    starts, stops = [0, *(stop for _, stop in overlaps)], [*(start for start, _ in overlaps), length]
    return [(start, stop) for start, stop in zip(starts, stops, strict=True) if start < stop]


def diffusers_decode(autoencoder: FrozenAutoencoder, latents: Tensor, tile: int) -> Tensor:
    """Images in [0, 1] as diffusers decodes them in tiles of `tile` pixels' side, with the overlap it has by itself."""
    model = autoencoder.model
    kept = model.tile_sample_min_size, model.tile_latent_min_size
    model.enable_tiling()
    model.tile_sample_min_size, model.tile_latent_min_size = tile, tile // autoencoder.factor
    try:
        with torch.inference_mode():
            return autoencoder.images(model.decode(autoencoder.raw(latents)).sample)
    finally:
        model.disable_tiling()
        model.tile_sample_min_size, model.tile_latent_min_size = kept


def faded_decode(autoencoder: FrozenAutoencoder, latents: Tensor, tile: int) -> Tensor:
    """Images as vae.tile decodes them: overlapping tiles, each of which fades into the next."""
    with torch.inference_mode():
        return FrozenAutoencoder(autoencoder.model, tile).decode(latents)


def diffusers_overlaps(length: int, tile: int, factor: int, overlap: float) -> tuple[Overlap, ...]:
    """What diffusers' tiles share along a side."""
    latents = tile // factor
    shared = int(latents * overlap) * factor
    step = tile - shared
    return tuple((start, min(start + shared, length)) for start in range(step, length, step)) if length > tile else ()


def faded_overlaps(length: int, tile: int) -> tuple[Overlap, ...]:
    """What tiles of vae.tile share along a side: a quarter, the last one more, since it ends where the image does."""
    if length <= tile:
        return ()
    starts = [*range(0, length - tile, tile * 3 // 4), length - tile]
    return tuple((start, before + tile) for before, start in pairwise(starts))


def tile_of(rows: int, width: int) -> int:
    """The side of the square tile with as many pixels as a strip of `rows`, as far as diffusers can have it."""
    return max(COARSE, round(math.sqrt(rows * width) / COARSE) * COARSE)


def exact_ways(make: Callable[[Tiling], Tensor], height: int, rows: list[int], memory: int | None) -> list[Way]:
    """Whole tensors first, then exact tiles: automatic, of so many rows, and within a memory."""
    ways = [Way("whole tensors", lambda: make(Tiling(whole=True))), Way("exact, automatic", lambda: make(Tiling()))]
    ways[1:] = [Way(ways[1].name, ways[1].run, exact=True)]
    for count in (count for count in rows if count < height):
        borders = Borders(tuple((start, start) for start in range(count, height, count)))
        ways.append(Way(f"exact, {count} rows", lambda count=count: make(Tiling(rows=count)), borders, exact=True))
    if memory is not None:
        name = f"exact, within {memory / 2**30:.2f} GiB"
        ways.append(Way(name, lambda: make(Tiling(memory=memory)), exact=True, memory=memory))
    return ways


def decode_ways(subject: Subject, rows: list[int], memory: int | None) -> list[Way]:
    """Ways to decode z_H."""
    autoencoder, z = subject.autoencoder, subject.z_H
    (height, width), factor = subject.sides, autoencoder.factor
    ways = exact_ways(lambda tiling: subject.renderer.decode(z, tiling), height, rows, memory)
    for tile in dict.fromkeys(tile_of(count, width) for count in rows):
        if tile >= max(height, width):
            continue
        if has_tiles(autoencoder):
            overlap = autoencoder.model.tile_overlap_factor
            sides = [diffusers_overlaps(side, tile, factor, overlap) for side in (height, width)]
            run = lambda tile=tile: diffusers_decode(autoencoder, z, tile)  # noqa: E731 - as the others
            ways.append(Way(f"diffusers, {tile} x {tile}", run, Borders(*sides)))
        run = lambda tile=tile: faded_decode(autoencoder, z, tile)  # noqa: E731
        borders = Borders(*(faded_overlaps(side, tile) for side in (height, width)))
        ways.append(Way(f"`vae.tile` {tile}", run, borders))
    return ways


def upscale_ways(subject: Subject, rows: list[int], memory: int | None) -> list[Way]:
    """Ways to upscale z_L."""
    return exact_ways(
        lambda tiling: subject.renderer.upscale(subject.z_L, subject.scale, tiling), subject.sides[0], rows, memory
    )


TABLES = {"decode": decode_ways, "upscale": upscale_ways}


def has_tiles(autoencoder: FrozenAutoencoder) -> bool:
    """Whether diffusers tiles this family."""
    return hasattr(autoencoder.model, "enable_tiling") and hasattr(autoencoder.model, "tile_latent_min_size")


def compare(ways: list[Way], rounds: int, clock: Callable[[], float]) -> list[Measured]:
    """Every way with its image, of a turn that warms up, and the seconds of its turns in the rounds that follow.

    Those with a memory to keep within are left to `measure_apart`.
    """
    measured = [Measured(way) for way in ways]
    together = [item for item in measured if item.way.memory is None]
    with progress_bar("ways", (rounds + 1) * len(together)) as advance:
        for turn in range(rounds + 1):
            for item in together:
                started = clock()
                image = item.way.run()
                if turn:
                    item.seconds.append(clock() - started)
                else:
                    item.image = image
                advance(item.way.name)
    return measured


def shown(measured: list[Measured]) -> str:
    """The table; the first way is the one that others are compared with."""
    base, lines = measured[0], []
    for item in measured:
        cells = [item.way.name]
        if item.image is None:
            cells += ["–", *["–"] * 7, item.reason]
        else:
            error, borders = item.image - base.image, item.way.borders
            cells += [f"{statistics.median(item.seconds):.2f}", spread(ratios(base, item))]
            cells += [number(error.abs().max().item()), number(error.abs().mean().item())]
            cells += [number(measure(error, borders)) if borders else "–" for measure in (seam_energy, tone_step)]
            cells += [size(item.taken), size(item.peak), item.reason]
        lines.append(cells)
    head = ["way", "s", "× whole", "max diff.", "mean diff.", "seam energy", "tone step", "takes MiB", "process MiB"]
    if any(item.reason for item in measured):
        head.append("why not")
    rows = [head, ["---", *["---:"] * (len(head) - 1)], *(cells[: len(head)] for cells in lines)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def number(value: float) -> str:
    """Two digits that count."""
    return "–" if math.isnan(value) else f"{value:.2g}"


def size(value: int | None) -> str:
    """Whole MiB."""
    return "–" if value is None else f"{value / 2**20:.0f}"


def ratios(base: Measured, item: Measured) -> list[float]:
    """A way's time over that of whole tensors, round by round."""
    return [a / b for a, b in zip(item.seconds, base.seconds, strict=True)]


def spread(values: list[float]) -> str:
    """Median, least and most."""
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def verdict(measured: list[Measured], dtype: str) -> str:
    """Whether exact tiles keep to what is claimed of them; the difference is claimed in float32."""
    base = measured[0]
    exact = [item for item in measured if item.way.exact and item.image is not None]
    times = {item.way.name: statistics.median(ratios(base, item)) for item in exact}
    slowest = max(times, key=times.__getitem__)
    difference = max((item.image - base.image).abs().max().item() for item in exact)
    kept = {True: "kept", False: "NOT kept"}
    lines = [f"at most {MOST_SECONDS} × the time of whole tensors: {kept[times[slowest] <= MOST_SECONDS]}"]
    lines[0] += f" ({slowest}: {times[slowest]:.2f})"
    if dtype == "float32":
        lines.append(f"differ by at most {MOST_DIFFERENCE:g}: {kept[difference <= MOST_DIFFERENCE]} ({difference:.1g})")
    for item in exact:
        if item.way.memory is not None:
            lines.append(f"keep within {size(item.way.memory)} MiB: {kept[item.peak <= item.way.memory]}")
    return f"Exact tiles take {'; they '.join(lines)}."


def read_params(vae: str) -> Params:
    """The study of an autoencoder."""
    return merged_params([ROOT / name for name in ("params.yaml", *STUDIES[vae])])


def load_frozen(vae: str) -> FrozenAutoencoder:
    """The autoencoder: weights as published (embedded, taef2), or random ones in the real architecture."""
    if vae in ("embedded", "taef2"):
        return load_autoencoder(read_params(vae).vae, "cpu")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = random_flux() if vae == "flux" else AutoencoderTiny(latent_channels=16)
    return FrozenAutoencoder(model.to(memory_format=torch.channels_last))


@torch.no_grad()
def moving_field(autoencoder: FrozenAutoencoder, vae: str, cut: str, latents: Tensor) -> VectorField:
    """A random field of the study's size, in the coordinates of what the head makes of latents, that moves features."""
    dimensions, channels = read_params(vae).train.field, autoencoder.decoder.cut(cut).channels
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        moving = VectorField(
            channels, cut, FIELD_SCALES, weights_sha256(autoencoder), **dimensions.model_dump()
        ).requires_grad_(False)
        for layer in (moving.out_velocity, *(block.out for block in moving.body)):
            nn.init.normal_(layer.weight, std=0.01)
    features = autoencoder.head(latents[..., :8, :8], cut)
    moving.set_statistics(batch_statistics(FeaturePair(features, features)))
    return moving.to(memory_format=torch.channels_last).eval()


def synthetic(side: int) -> Tensor:
    """An image (1, 3, side, side) of large differences in tone: a ramp, blotches, and texture that grows with it."""
    source = torch.Generator().manual_seed(0)
    ramp = torch.linspace(0.05, 0.95, side).expand(1, 3, side, side)
    blotches = F.interpolate(torch.randn(1, 3, 6, 6, generator=source), (side, side), mode="bicubic")
    texture = torch.randn(1, 3, side, side, generator=source)
    return (ramp + 0.15 * blotches + 0.1 * ramp * texture).clamp(0, 1)


def photograph(file: Path | None, side: int) -> tuple[Tensor, str]:
    """An image (1, 3, side, side), and what it is: the centre of `file`, else of the mirror's photograph.

    Where there is no mirror, or its photograph is smaller, the image is a synthetic one.

    Raises:
        ValueError: `file` is smaller.
    """
    mirror = mirror_root()
    kept = mirror / PHOTOGRAPH if mirror else None
    place = file or (kept if kept and kept.is_file() else None)
    image = synthetic(side) if place is None else read_image(place)
    if min(image.shape[-2:]) < side:
        if file:
            raise ValueError(f"{file} is smaller than {side}x{side}; give a larger image, or a smaller --side")
        place, image = None, synthetic(side)
    top, left = ((length - side) // 2 for length in image.shape[-2:])
    return image[..., top : top + side, left : left + side], "a synthetic image" if place is None else place.name


def write_inputs(arguments: argparse.Namespace, path: Path) -> str:
    """Save z_L and z_H, so that every process has the same; returns what they are.

    Raises:
        ValueError: sides that the autoencoder cannot have.
    """
    autoencoder, side = load_frozen(arguments.vae), arguments.side
    if side % autoencoder.factor:
        raise ValueError(f"a side of {side} is no multiple of {autoencoder.factor}; give one that is")
    sides = {"z_L": side, "z_H": side * arguments.scale}
    if arguments.vae in ("embedded", "taef2"):
        x_H, what = photograph(arguments.image, sides["z_H"])
        renderer = Renderer(autoencoder)
        latents = {"z_L": renderer.encode(shrink(x_H, arguments.scale)), "z_H": renderer.encode(x_H)}
    else:
        what, source = "random latents whose contrast grows from left to right", torch.Generator().manual_seed(0)
        latents = {}
        for name, length in sides.items():
            shape = (1, autoencoder.latent_channels, length // autoencoder.factor, length // autoencoder.factor)
            latents[name] = torch.randn(shape, generator=source) * torch.linspace(0.2, 2, shape[-1])
    save_file({name: latent.float().contiguous() for name, latent in latents.items()}, path)
    return what


def load_subject(arguments: argparse.Namespace, inputs: Path) -> Subject:
    """The networks, in the precision asked for, and the latents."""
    latents, autoencoder = load_file(inputs), load_frozen(arguments.vae)
    moving = moving_field(autoencoder, arguments.vae, arguments.cut, latents["z_L"])
    autoencoder.to(DTYPES[arguments.dtype])
    return Subject(Renderer(autoencoder, moving), latents["z_L"], latents["z_H"], arguments.scale)


def run_once(arguments: argparse.Namespace) -> dict[str, Any]:
    """In a process of its own: bytes that one way takes, and the peak of the process.

    Where the way has a memory to keep within, also the seconds of its rounds; its image is left beside the inputs.
    """
    table, name = arguments.only
    subject = load_subject(arguments, arguments.inputs)
    way = next(way for way in TABLES[table](subject, arguments.rows, arguments.memory) if way.name == name)
    peak, clock, seconds = Peak(), CLOCKS[arguments.clock], []
    image = way.run()
    if way.memory is not None:
        save_file({"image": image}, made_in(arguments.inputs))
        del image
        for _ in range(arguments.rounds):
            started = clock()
            way.run()
            seconds.append(clock() - started)
    return {"taken": peak.reached() - peak.loaded, "peak": peak.reached(), "seconds": seconds}


def made_in(inputs: Path) -> Path:
    """Where a process leaves its image."""
    return inputs.with_name("image.safetensors")


@torch.no_grad()
def upscale_once(arguments: argparse.Namespace) -> dict[str, int | float]:
    """In a process of its own: an image upscaled, from pixels to pixels; seconds, and the peak of the process."""
    peak, side = Peak(), arguments.side
    autoencoder = load_frozen(arguments.vae)
    image = synthetic(side)
    latents = torch.randn(1, autoencoder.latent_channels, 8, 8, generator=torch.Generator().manual_seed(0))
    moving = moving_field(autoencoder, arguments.vae, arguments.cut, latents)
    autoencoder.to(DTYPES[arguments.dtype])
    pipeline = ImagePipeline(autoencoder, moving, arguments.scale, Tiling(memory=arguments.memory))
    clock = CLOCKS[arguments.clock]
    started = clock()
    made = to_bytes(pipeline(image))
    return {"side": made.shape[-1], "seconds": clock() - started, "peak": peak.reached()}


def in_a_process(arguments: argparse.Namespace, *options: str) -> dict[str, Any]:
    """What one of the two above gives.

    Raises:
        ValueError: the process failed; with its last line.
    """
    command = [sys.executable, __file__, "--rows", *map(str, arguments.rows)]
    for name in ("vae", "cut", "side", "scale", "dtype", "threads", "rounds", "clock", "memory"):
        value = getattr(arguments, name)
        command += [] if value is None else [f"--{name}", str(value)]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
        raise ValueError(lines[-1].removeprefix("ValueError: "))
    return json.loads(done.stdout.splitlines()[-1])


def measure_apart(tables: dict[str, list[Measured]], arguments: argparse.Namespace, inputs: Path) -> None:
    """Fill in what comes of processes of their own, or why nothing does."""
    items = [(table, item) for table, measured in tables.items() for item in measured]
    items = [(table, item) for table, item in items if arguments.peaks or item.way.memory is not None]
    with progress_bar("memory", len(items)) as advance:
        for table, item in items:
            try:
                found = in_a_process(arguments, "--inputs", str(inputs), "--only", table, item.way.name)
                item.taken, item.peak = found["taken"], found["peak"]
                if item.way.memory is not None:
                    item.seconds, item.image = found["seconds"], load_file(made_in(inputs))["image"]
            except ValueError as error:
                item.reason = str(error)
            advance(item.way.name)


def large(arguments: argparse.Namespace) -> str:
    """The table of images upscaled within a memory, each in a process of its own: 4 times, and of twice the side 2."""
    lines = ["| from | to | allowed MiB | peak MiB | kept | s |", "|---:|---:|---:|---:|---|---:|"]
    cases = {4: arguments.side, 2: 2 * arguments.side}
    with progress_bar("large", len(cases)) as advance:
        for scale, side in cases.items():
            case = argparse.Namespace(**vars(arguments) | {"side": side, "scale": scale})
            try:
                found = in_a_process(case, "--large-one")
                kept = "yes" if found["peak"] <= arguments.memory else "NO"
                cells = [size(arguments.memory), size(found["peak"]), kept, f"{found['seconds']:.0f}"]
            except ValueError as error:
                cells = [size(arguments.memory), "–", str(error), "–"]
            lines.append(f"| {side} | {side * scale} | {' | '.join(cells)} |")
            advance(f"{side} x {scale}")
    return "\n".join(lines)


def write_pictures(measured: list[Measured], folder: Path, vae: str) -> list[Path]:
    """For every way that is not exact, beside an exact one: images, and below them their errors, amplified alike."""
    base = measured[0]
    exact = next(item for item in measured if item.way.exact and item.image is not None)
    written = []
    for item in measured[1:]:
        if item.way.exact or item.image is None:
            continue
        errors = [part.image - base.image for part in (exact, item)]
        amplified = 0.5 / errors[1].abs().flatten().quantile(0.999).item()
        top = torch.cat([exact.image, item.image], dim=-1)
        below = torch.cat([0.5 + amplified * error for error in errors], dim=-1)
        names = [part.way.name.replace("`", "") for part in (exact, item)]
        titles = [*names, *(f"{name}: grey + {amplified:.3g} error" for name in names)]
        name = f"{vae}-{names[1]}".replace(" ", "").replace(",", "-")
        written.append(write_image(folder / f"{name}.png", titled(torch.cat([top, below], dim=-2), titles)))
    return written


def titled(image: Tensor, titles: list[str]) -> Tensor:
    """A picture (1, 3, H, W) of two by two parts, with a title in the corner of each."""
    pixels = Image.fromarray(to_bytes(image)[0].permute(1, 2, 0).contiguous().numpy())
    draw, (width, height) = ImageDraw.Draw(pixels), pixels.size
    for index, title in enumerate(titles):
        place = (index % 2 * width // 2 + 4, index // 2 * height // 2 + 4)
        draw.rectangle(draw.textbbox(place, title), fill="black")
        draw.text(place, title, fill="white")
    data = torch.frombuffer(bytearray(pixels.tobytes()), dtype=torch.uint8)
    return data.view(height, width, 3).permute(2, 0, 1)[None].float() / 255


def machine(arguments: argparse.Namespace) -> str:
    """Where and how it was measured."""
    capability = torch.backends.cpu.get_cpu_capability()
    how = f"{arguments.dtype}, {arguments.threads} thread(s), {arguments.clock} clock"
    return f"{os.cpu_count()} x {platform.machine()} ({capability}), torch {torch.__version__}, {how}"


def read_arguments(given: list[str] | None = None) -> argparse.Namespace:
    """The options; the hidden ones are those of a process that measures memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vae", default="flux", choices=list(STUDIES), help="taef2 needs FSR_MIRROR or a network")
    parser.add_argument("--cut", default="f3", choices=CUTS)
    parser.add_argument("--side", type=int, help="low-resolution pixels: 256, with --large 1024")
    parser.add_argument("--scale", type=int, default=2, choices=FIELD_SCALES)
    parser.add_argument("--rows", type=int, nargs="+", default=[32, 64, 128], help="of exact tiles, in the output")
    parser.add_argument("--memory", type=parse_memory, help="that exact tiles are to keep within; with --large 6GiB")
    parser.add_argument("--image", type=Path, help="to encode; else one of FSR_MIRROR, or a synthetic one")
    parser.add_argument("--dtype", default="float32", choices=list(DTYPES))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clock", default="wall", choices=list(CLOCKS), help="cpu: for one thread of a busy machine")
    parser.add_argument("--peaks", action=argparse.BooleanOptionalAction, default=True, help="measure memory (Linux)")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="write decoded images and their errors here")
    parser.add_argument("--large", action="store_true", help="upscale large images within a memory, and nothing else")
    parser.add_argument("--large-one", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--inputs", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--only", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args(given)
    arguments.side = arguments.side or (1024 if arguments.large else 256)
    arguments.memory = arguments.memory or (6 * 2**30 if arguments.large else None)
    return arguments


def main(arguments: argparse.Namespace) -> None:
    """Measure and print."""
    torch.set_num_threads(arguments.threads)
    if arguments.only or arguments.large_one:
        print(json.dumps(run_once(arguments) if arguments.only else upscale_once(arguments)))
        return
    if arguments.large:
        print(f"{arguments.vae} {arguments.cut}, {machine(arguments)}\n\n{large(arguments)}")
        return
    with TemporaryDirectory() as folder:
        inputs = Path(folder, "inputs.safetensors")
        what = write_inputs(arguments, inputs)
        subject = load_subject(arguments, inputs)
        tables = {
            name: compare(ways(subject, arguments.rows, arguments.memory), arguments.rounds, CLOCKS[arguments.clock])
            for name, ways in TABLES.items()
        }
        measure_apart(tables, arguments, inputs)
    height, width = subject.sides
    print(f"{arguments.vae} {arguments.cut}, images of {width}x{height} ({what}), {machine(arguments)}")
    for name, measured in tables.items():
        print(f"\n**{name}**\n\n{shown(measured)}\n\n{verdict(measured, arguments.dtype)}")
    if not has_tiles(subject.autoencoder):
        print(f"\ndiffusers has no tiles for {type(subject.autoencoder.model).__name__}.")
    if arguments.pictures:
        write_pictures(tables["decode"], arguments.pictures, arguments.vae)


if __name__ == "__main__":
    main(read_arguments())
