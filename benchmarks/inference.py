"""Seconds of an image, or of a latent, at a larger size: FSR, the methods that enlarge latents, and those of pixels.

    python benchmarks/inference.py [--side 256] [--cut f3] [--rounds 3] [--threads 1] [--dtype float32] [--clock wall]

All have FLUX.1's autoencoder in common, its real architecture with random weights, and take turns on the same input, so
that what else runs on the machine troubles all of them alike. Each is timed in two ways: through the modules of its
libraries as they are, and through this package's strips, which the rivals' encoder and decoder are given too. Values do
not matter to the time; that both ways give the same ones is printed. Prints Markdown.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from shared import Peak, random_flux
from spandrel import ImageModelDescriptor
from spandrel.architectures.SwinIR import SwinIR, SwinIRArch
from torch import Tensor

from fsr.autoencoders import FrozenAutoencoder
from fsr.cli import merged_params
from fsr.config import Lsrna, Lua, Params
from fsr.flow.field import VectorField
from fsr.precision import DTYPES, autocast
from fsr.rivals import LsrnaNetwork, LuaNetwork
from fsr.tiling import Renderer, Tiling
from fsr.upscalers import Fsr

ROOT = Path(__file__).parents[1]
SCALE = 2
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
WAYS = {"modules": Tiling(whole=True), "strips": Tiling()}
GPU = {
    "frozen": 56 + 157,
    "lua": 421,
}  # ms on an RTX 3090, as the prototype published them: frozen parts, and LUA whole


@dataclass
class Parts:
    """The networks, and one image and its latent.

    Attributes:
        fields: of the sizes that are compared, by name.
    """

    autoencoder: FrozenAutoencoder
    fields: dict[str, VectorField]
    lua: LuaNetwork
    lsrna: LsrnaNetwork
    pixel: ImageModelDescriptor
    x_L: Tensor
    z_L: Tensor
    renderers: dict[str, Renderer] = field(default_factory=dict)

    def renderer(self, name: str) -> Renderer:
        if name not in self.renderers:
            self.renderers[name] = Renderer(self.autoencoder, self.fields[name])
        return self.renderers[name]


def build(
    params: Params, published: Mapping[str, Lua | Lsrna], cut: str, side: int, dtype: torch.dtype, model: AutoencoderKL
) -> Parts:
    """Everything, seeded; fields move every feature, rivals have the sizes of `published`."""
    torch.manual_seed(0)
    autoencoder = FrozenAutoencoder(model.to(dtype).to(memory_format=torch.channels_last))
    channels = autoencoder.decoder.cut(cut).channels
    sizes = {"default": params.train.field.model_dump()}
    sizes["prototype"] = {"hidden": 128, "blocks": 8, "block": "depthwise", "patch": 1, "gate": "scalar"}
    fields = {name: VectorField(channels, cut, [SCALE], "", **size).eval() for name, size in sizes.items()}
    for each in fields.values():
        torch.nn.init.normal_(each.out_velocity.weight, std=0.01)
    of_lua = published["lua"].model_dump(exclude={"kind", "weights"})
    of_lsrna = published["lsrna"].model_dump(exclude={"kind", "weights", "queries"})
    lua = LuaNetwork(autoencoder.latent_channels, [SCALE], "", **of_lua).eval()
    lsrna = LsrnaNetwork(autoencoder.latent_channels, "", **of_lsrna).eval()
    x_L = torch.rand(1, 3, side, side)
    return Parts(autoencoder, fields, lua, lsrna, swinir(), x_L, autoencoder.encode(x_L))


def swinir() -> ImageModelDescriptor:
    """SwinIR-M for x2 of classical super-resolution, as spandrel runs it."""
    network = SwinIR(
        img_size=64, window_size=8, depths=[6] * 6, embed_dim=180, num_heads=[6] * 6, mlp_ratio=2,
        upscale=SCALE, img_range=1.0, upsampler="pixelshuffle", resi_connection="1conv",
    )  # fmt: skip
    return ImageModelDescriptor(
        network.eval(), network.state_dict(), architecture=SwinIRArch(), purpose="SR", tags=[], supports_half=False,
        supports_bfloat16=True, scale=SCALE, input_channels=3, output_channels=3,
    )  # fmt: skip


Row = Callable[[Parts, Tensor, Tiling], Tensor]


def fsr(size: str) -> Row:
    """The field of a size on a latent."""
    return lambda parts, z, tiling: parts.renderer(size).upscale(z, SCALE, tiling)


def lua(parts: Parts, z: Tensor, tiling: Tiling) -> Tensor:
    """LUA's network in its published size, and the decoder."""
    larger = parts.lua(parts.autoencoder.raw(z).float(), SCALE)
    return parts.renderer("default").decode(parts.autoencoder.scaled(larger), tiling)


def lsrna(parts: Parts, z: Tensor, tiling: Tiling) -> Tensor:
    """LSRNA's super-resolution of the latent, and the decoder."""
    sides = tuple(SCALE * side for side in z.shape[-2:])
    return parts.renderer("default").decode(parts.lsrna(z.float(), sides), tiling)


def decoded_bicubic(parts: Parts, z: Tensor, tiling: Tiling) -> Tensor:
    """The decoder, and the pixels enlarged."""
    decoded = parts.renderer("default").decode(z, tiling)
    return torch.nn.functional.interpolate(decoded, scale_factor=SCALE, mode="bicubic", antialias=True)


def decoded_swinir(parts: Parts, z: Tensor, tiling: Tiling) -> Tensor:
    """The decoder, and a model of pixel super-resolution."""
    return parts.pixel(parts.renderer("default").decode(z, tiling).clamp(0, 1))


ROWS: dict[str, Row] = {
    "FSR": fsr("default"),
    "FSR, the prototype's field": fsr("prototype"),
    "LUA": lua,
    "LSRNA": lsrna,
    "decode + bicubic": decoded_bicubic,
    "decode + SwinIR": decoded_swinir,
}


NETWORKS: dict[str, Callable[[Parts], torch.nn.Module | None]] = {
    "FSR": lambda parts: parts.fields["default"],
    "FSR, the prototype's field": lambda parts: parts.fields["prototype"],
    "LUA": lambda parts: parts.lua,
    "LSRNA": lambda parts: parts.lsrna,
    "decode + bicubic": lambda parts: None,
    "decode + SwinIR": lambda parts: parts.pixel.model,
}


@dataclass
class Measured:
    """Seconds of each round by name and way: of rows from a latent, and of the stages alone, encoding among them."""

    rows: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    stages: dict[tuple[str, str], list[float]] = field(default_factory=dict)


def measure(parts: Parts, rounds: int, clock: Callable[[], float], dtype: torch.dtype) -> Measured:
    """All rows and stages in both ways in turns: one that warms up, then one in each round."""
    made = Measured()
    for turn in range(rounds + 1):
        for way, tiling in WAYS.items():
            calls = {name: partial(row, parts, parts.z_L, tiling) for name, row in ROWS.items()}
            for table, each in ((made.rows, calls), (made.stages, stages(parts, way))):
                for name, call in each.items():
                    seconds = timed(call, clock, dtype)
                    if turn:
                        table.setdefault((name, way), []).append(seconds)
    return made


def timed(call: Callable[[], Tensor], clock: Callable[[], float], dtype: torch.dtype) -> float:
    """Seconds of a call; networks beside the autoencoder compute in `dtype` too."""
    with torch.inference_mode(), autocast("cpu", str(dtype).removeprefix("torch.")):
        started = clock()
        call()
        return clock() - started


def stages(parts: Parts, way: str) -> dict[str, Callable[[], Tensor]]:
    """Encoder, frozen head and tail, the enlargement with the field of each size, and LUA's network: each alone."""
    autoencoder, cut, renderer = parts.autoencoder, parts.fields["default"].config.cut, parts.renderer("default")
    with torch.inference_mode():
        f_L = autoencoder.head(parts.z_L, cut)
        f_B = enlarged(f_L)
    made: dict[str, Callable[[], Tensor]] = {"encode": lambda: renderer.encode(parts.x_L, WAYS[way])}
    if way == "strips":
        made |= {"head": lambda: renderer.head(parts.z_L), "tail": lambda: renderer.tail(f_B)}
        for name in parts.fields:
            made[f"enlargement, field ({name})"] = partial(parts.renderer(name).carry, f_L, SCALE)
        return made
    made |= {"head": lambda: autoencoder.head(parts.z_L, cut), "tail": lambda: autoencoder.tail(f_B, cut)}
    for name, network in parts.fields.items():
        made[f"enlargement, field ({name})"] = lambda network=network: Fsr(network).carried(enlarged(f_L), SCALE)
    return made | {"LUA's network": lambda: parts.lua(autoencoder.raw(parts.z_L).float(), SCALE)}


def enlarged(f_L: Tensor) -> Tensor:
    """f_B as torch enlarges it."""
    return torch.nn.functional.interpolate(f_L, scale_factor=SCALE, mode="bicubic", align_corners=False)


def ratio(a: list[float], b: list[float]) -> str:
    """a over b: median over rounds, least and most."""
    ratios = [x / y for x, y in zip(a, b, strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"


def rows_table(made: Measured, peaks: dict[tuple[str, str], int]) -> str:
    """Every row in both ways: seconds from a latent, and the share of LUA's in the same way, latent in and image in."""
    lines = [
        "| row | way | s from a latent | of LUA, latent in | of LUA, image in | peak MiB |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for (name, way), seconds in made.rows.items():
        lua, encode = made.rows["LUA", way], made.stages["encode", way]
        of_image = [[a + b for a, b in zip(encode, each, strict=True)] for each in (seconds, lua)]
        peak = f"{peaks[name, way] / 2**20:.0f}" if (name, way) in peaks else ""
        cells = [name, way, f"{statistics.median(seconds):.2f}", ratio(seconds, lua), ratio(*of_image), peak]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def stages_table(made: Measured) -> str:
    """Every stage: seconds in both ways, what strips bring, and its share of the frozen parts' time in each way."""
    frozen = {
        way: [sum(each) for each in zip(*(made.stages[name, way] for name in ("encode", "head", "tail")), strict=True)]
        for way in WAYS
    }
    lines = ["| stage | modules, s | strips, s | modules / strips | of frozen, modules | of frozen, strips |"]
    lines.append("|---|--:|--:|--:|--:|--:|")
    for name in dict.fromkeys(name for name, _ in made.stages):
        modules, strips = (made.stages.get((name, way)) for way in WAYS)
        cells = [name, f"{statistics.median(modules):.2f}"]
        cells += [f"{statistics.median(strips):.2f}", ratio(modules, strips)] if strips else ["", ""]
        cells += [ratio(modules, frozen["modules"]), ratio(strips, frozen["strips"]) if strips else ""]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def predicted(made: Measured) -> str:
    """FSR's share of LUA's time on the prototype's GPU: its stage times, with what the field takes here beside them."""
    field_share = [
        a / sum(frozen)
        for a, *frozen in zip(
            made.stages["enlargement, field (default)", "strips"],
            *(made.stages[name, "modules"] for name in ("encode", "head", "tail")),
            strict=True,
        )
    ]
    share = statistics.median(field_share)
    return (
        f"Predicted, not measured: on the prototype's RTX 3090 the frozen parts took {GPU['frozen']} ms and LUA "
        f"{GPU['lua']} ms; with enlargement and field at {share:.1%} of the frozen parts' time, as here, FSR takes "
        f"{GPU['frozen'] * (1 + share) / GPU['lua']:.2f} of LUA's time."
    )


def differences(parts: Parts) -> str:
    """How far strips are from modules, in what they render."""
    z, default = parts.z_L, parts.renderer("default")
    pairs = {"FSR": partial(default.upscale, z, SCALE), "decode": partial(default.decode, z)}
    apart = {name: (call(WAYS["strips"]) - call(WAYS["modules"])).abs().max().item() for name, call in pairs.items()}
    return "Strips differ from modules by at most " + ", ".join(
        f"{value:.1e} ({name})" for name, value in apart.items()
    )


def peak_of(parts: Parts, name: str, way: str) -> int:
    """Bytes a row takes at its peak from a latent, its own network's among them, in a process that did nothing else.

    The autoencoder's weights, which all rows need, are not counted; what strips make of them is.
    """
    peak = Peak()
    with torch.inference_mode():
        ROWS[name](parts, parts.z_L, WAYS[way])
    network = NETWORKS[name](parts)
    own = sum(parameter.nbytes for parameter in network.parameters()) if network else 0
    return peak.reached() - peak.loaded + own


def peaks(arguments: argparse.Namespace) -> dict[tuple[str, str], int]:
    """The peak of every row and way, each in a process of its own."""
    shared = [
        "--side",
        arguments.side,
        "--cut",
        arguments.cut,
        "--dtype",
        arguments.dtype,
        "--threads",
        arguments.threads,
    ]
    found = {}
    for name in ROWS:
        for way in WAYS:
            command = [sys.executable, __file__, *shared, "--peak", name, way]
            found[name, way] = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def machine(arguments: argparse.Namespace) -> str:
    """Where and how it was measured."""
    capability = torch.backends.cpu.get_cpu_capability()
    return (
        f"{os.cpu_count()} x {platform.machine()} ({capability}), torch {torch.__version__}, {arguments.dtype}, "
        f"{arguments.threads} thread(s), {arguments.clock} time, {arguments.side} to {SCALE * arguments.side} pixels, "
        f"cut {arguments.cut}, {arguments.rounds} rounds"
    )


def main(arguments: argparse.Namespace) -> None:
    torch.set_num_threads(arguments.threads)
    dtype = DTYPES[arguments.dtype]
    params = [merged_params([ROOT / "params.yaml", *more]) for more in ([], [ROOT / "experiments/flux.yaml"])]
    model = random_flux()
    parts = build(params[0], params[1].rivals.methods, arguments.cut, arguments.side, dtype, model)
    if arguments.peak:
        print(peak_of(parts, *arguments.peak))
        return
    made = measure(parts, arguments.rounds, CLOCKS[arguments.clock], dtype)
    found = {} if arguments.no_peaks else peaks(arguments)
    print(
        "\n\n".join(
            [machine(arguments), rows_table(made, found), stages_table(made), differences(parts), predicted(made)]
        )
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=256, help="pixels of the low-resolution image")
    parser.add_argument("--cut", default="f3")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--no-peaks", action="store_true", help="leave out the peaks of memory")
    parser.add_argument("--peak", nargs=2, metavar=("ROW", "WAY"), help="print the bytes of one row's peak alone")
    main(parser.parse_args())
