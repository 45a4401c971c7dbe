"""Crops a second of training: the prototype's way, ours, and what each change between the two brings.

    python benchmarks/training.py [--vae taef2] [--cut f4] [--crop 128] [--rounds 5] [--threads 1] [--dtype float32]

All ways have the objective, the crops, the autoencoder and the number of crops per optimiser step in common. They take
turns, a step each, so that what else runs on the machine troubles all of them alike. The crops are of BSDS500 where
FSR_MIRROR has it, else noise, which does not change what is computed. Prints Markdown.
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from fsr.autoencoders import FrozenAutoencoder, load_autoencoder
from fsr.cli import merged_params
from fsr.config import FieldSize, Params
from fsr.crops import Crop, read_crops
from fsr.files import write_json
from fsr.flow.field import FieldOutput
from fsr.flow.path import FeaturePair
from fsr.images import enlarge_features, list_images
from fsr.latents import LatentBatch, Sources, encode_shard, join_shards, made_by, plan_files
from fsr.mirror import mirror_root
from fsr.plan import changed
from fsr.precision import autocast, autocast_dtype
from fsr.train import Trainer, field_trainer
from fsr.train.data import Pass, Passes
from fsr.train.loss import StepLoss

ROOT = Path(__file__).parents[1]
STUDIES = {"taef2": ("params.yaml", "experiments/taef2.yaml"), "embedded": ("params.yaml",)}
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
STEP_CROPS = 8
CACHED_CROPS = 32
PROTOTYPE_LOSSES = {"flow": 1.0, "endpoint": 0.5, "fft": 0.1}  # of every way; the studies leave these terms out
PROTOTYPE_FIELD = FieldSize(hidden=128, blocks=8, block="depthwise", patch=1, gate="scalar")


@dataclass(frozen=True)
class Way:
    """How a step is made; the defaults are the prototype's.

    Attributes:
        what: what sets it apart from the way before.
        cached: latents and targets come from the cache; else every crop is read, encoded and decoded anew.
        one_pass: both evaluations of the field are one pass of it.
        layouts: weights are laid out in memory as the trainer and the loader have it, else as torch makes them.
    """

    what: str
    field: FieldSize = PROTOTYPE_FIELD
    cached: bool = False
    statistics: str = "running"
    one_pass: bool = False
    checkpoint_tail: bool = True
    layouts: bool = False
    batch: int = 1


@dataclass(frozen=True)
class Study:
    """What the ways have in common."""

    params: Params
    cut: str
    autoencoder: FrozenAutoencoder
    manifest: Path
    crops: list[Crop]
    work: Path


def ladder(params: Params) -> list[Way]:
    """The prototype's way, then one change at a time to that of `params`; what changes nothing is left out."""
    field, batch = params.train.field, min(params.train.batch, STEP_CROPS)
    changes = {
        "latents from the cache": {"cached": True},
        "statistics from the cache": {"statistics": params.train.statistics},
        "one pass for both evaluations": {"one_pass": True},
        "tail not recomputed": {"checkpoint_tail": params.train.checkpoint_tail},
        f"{field.block} block, {field.hidden} x {field.blocks}": {"field": field.model_copy(update={"patch": 1})},
        f"field on patches of {field.patch}": {"field": field},
        "layouts in memory": {"layouts": True},
        f"batch {batch} x {STEP_CROPS // batch}": {"batch": batch},
    }
    ways = [Way("the prototype's way")]
    for what, change in changes.items():
        following = replace(ways[-1], what=what, **change)
        if replace(following, what=ways[-1].what) != ways[-1]:
            ways.append(following)
    return ways


class EncodedLoss(StepLoss):
    """A loss on `pair`, the features that encoding has left, in place of its own."""

    pair: FeaturePair

    def features(self, batch: LatentBatch) -> FeaturePair:
        return self.pair


class Encoding:
    """In place of a trainer's feed: reads, encodes and decodes the crops of each pass anew, for its loss too."""

    def __init__(self, trainer: Trainer, study: Study) -> None:
        self.study, self.autoencoder, self.waited = study, trainer.recipe.autoencoder, 0.0
        self.passes = iter(Passes(trainer.params, len(trainer.cache), 0, 0, 1))
        self.loss = EncodedLoss(trainer.params, study.cut, self.autoencoder, trainer.trained, trainer.model)
        trainer.recipe.loss = self.loss

    @torch.no_grad()
    def next(self) -> tuple[Pass, LatentBatch]:
        which, params = next(self.passes), self.study.params
        crops = read_crops([self.study.crops[index] for index in which.crops], params.latents.crop_size)
        x_H = crops.to(self.autoencoder.device).float() / 255
        with autocast(params.runtime.device, autocast_dtype(params.runtime)):
            z_H, f_H, x_H_rec = self._encoded(x_H)
            z_L, f_L, x_L_rec = self._encoded(self.loss.resampling.low_resolution(x_H, which.scale))
            self.loss.pair = FeaturePair(enlarge_features(f_L, f_H.shape[-2:]).float(), f_H.float())
        return which, LatentBatch(z_H, z_L, crops, x_H_rec, x_L_rec, which.scale)

    def _encoded(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        z = self.autoencoder.encode(images)
        f = self.autoencoder.head(z, self.study.cut)
        return z, f, self.autoencoder.tail(f, self.study.cut)


class TwoPasses(nn.Module):
    """A field that makes a pass for each of its two evaluations."""

    def __init__(self, field: nn.Module) -> None:
        super().__init__()
        self.field = field

    def forward(self, f: Tensor, t: Tensor, f_B: Tensor, scale: int) -> FieldOutput:
        parts = zip(f.chunk(2), t.chunk(2), strict=True)
        outputs = [self.field(f, t, f_B[: len(f)], scale) for f, t in parts]
        gates = [output.gate for output in outputs if output.gate is not None]
        return FieldOutput(torch.cat([output.velocity for output in outputs]), torch.cat(gates) if gates else None)


class Timed:
    """A way's trainer, and the seconds its steps took by `clock`."""

    def __init__(self, way: Way, study: Study, clock: Callable[[], float]) -> None:
        self.way, self.clock, self.seconds = way, clock, []
        autoencoder = study.autoencoder if way.layouts else plain(deepcopy(study.autoencoder))
        params = params_of(study.params, way)
        self.trainer = field_trainer(params, study.cut, study.manifest, autoencoder, study.work)
        if not way.layouts:
            plain(self.trainer.model)
        self.feed = self.trainer.feed() if way.cached else Encoding(self.trainer, study)
        if not way.one_pass:
            loss = self.trainer.recipe.loss
            loss.field = TwoPasses(loss.field)

    def step(self) -> dict[str, float]:
        """Make a step; returns the trainer's row."""
        started = self.clock()
        row = self.trainer.optimise(self.feed)
        self.seconds.append(self.clock() - started)
        self.trainer.step += 1
        return row


def plain(module: nn.Module) -> nn.Module:
    """The module with its weights as torch makes them."""
    return module.to(memory_format=torch.contiguous_format)


def params_of(params: Params, way: Way) -> Params:
    """The parameters of a way's trainer; crops are read between the steps, so that either clock sees it."""
    settings = {"field": way.field.model_dump(), "statistics": way.statistics, "checkpoint_tail": way.checkpoint_tail}
    settings |= {"batch": way.batch, "accumulation": STEP_CROPS // way.batch, "workers": 0}
    return changed(params, {f"train.{name}": value for name, value in settings.items()})


def compare(study: Study, rounds: int, clock: Callable[[], float]) -> list[Timed]:
    """Every way with the seconds of its steps: one that warms up, then one in each round."""
    timed = [Timed(way, study, clock) for way in ladder(study.params)]
    for _ in range(rounds + 1):
        for item in timed:
            item.step()
    return timed


def shown(timed: list[Timed]) -> str:
    """The table: seconds per crop, and how many times the crops a second of the first way and of the way before."""
    lines = ["| way | s per crop | of the prototype's crops/s | brought |", "|---|---:|---:|---:|"]
    for index, item in enumerate(timed):
        seconds = statistics.median(item.seconds[1:]) / STEP_CROPS
        before = timed[max(0, index - 1)]
        what = f"+ {item.way.what}" if index else item.way.what
        lines.append(f"| {what} | {seconds:.3f} | {ratio(timed[0], item)} | {ratio(before, item)} |")
    return "\n".join(lines)


def ratio(base: Timed, item: Timed) -> str:
    """How many times as fast a way is as another: median over rounds, least and most."""
    ratios = [a / b for a, b in zip(base.seconds[1:], item.seconds[1:], strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"


def wait_share(study: Study, workers: int, steps: int) -> float:
    """Share of our steps' time that is spent waiting for crops, the start of the workers included."""
    params = changed(study.params, {"train.workers": workers, "train.steps": steps})
    trainer = field_trainer(params, study.cut, study.manifest, study.autoencoder, study.work)
    started, feed = time.perf_counter(), trainer.feed()
    for trainer.step in range(steps):
        trainer.optimise(feed)
    return trainer.waited / (time.perf_counter() - started)


def prepare(params: Params, cut: str, folder: Path) -> Study:
    """The autoencoder, and a cache of crops of BSDS500 or of noise."""
    autoencoder = load_autoencoder(params.vae, params.runtime.device, params.data.mirror)
    files = photographs() or noise(folder)
    named = [{"name": str(file), "sha256": ""} for file in files]
    sources = Sources([write_json(folder / "set.json", {"name": "BSDS500 or noise", "files": named})], [])
    encode_shard(params, sources, autoencoder, 0, folder / "cache/shards/0.json")
    join_shards([folder / "cache/shards/0.json"], folder / "cache/manifest.json")
    planned = plan_files(params, sources, made_by(params, sources, autoencoder))
    crops = [crop for file in planned if file.split == "train" for crop in file.crops]
    return Study(params, cut, autoencoder, folder / "cache/manifest.json", crops, folder / "work")


def photographs() -> list[Path]:
    """Training images of BSDS500 in the mirror; none where there is no mirror or it has them not."""
    mirror = mirror_root()
    folder = mirror / "datasets/BSDS500/train" if mirror else None
    return list_images(folder)[:CACHED_CROPS] if folder and folder.is_dir() else []


def noise(folder: Path) -> list[Path]:
    """Noise images of BSDS500's size."""
    source = np.random.default_rng(0)
    files = [folder / f"{index}.jpg" for index in range(8)]
    for file in files:
        Image.fromarray(source.integers(0, 256, (321, 481, 3), dtype=np.uint8)).save(file)
    return files


def machine(params: Params) -> str:
    """Where and how it was measured."""
    threads, capability = torch.get_num_threads(), torch.backends.cpu.get_cpu_capability()
    computed = f"{autocast_dtype(params.runtime)}, {threads} thread(s)"
    return f"{os.cpu_count()} x {platform.machine()} ({capability}), torch {torch.__version__}, {computed}"


def read_params(arguments: argparse.Namespace) -> Params:
    """The study's parameters with the prototype's objective, at the size and precision asked for."""
    settings = {"latents.crop_size": arguments.crop, "runtime.dtype": arguments.dtype}
    settings |= {"latents.crops": CACHED_CROPS, "latents.validation_crops": 1, "train.statistics_crops": STEP_CROPS}
    settings |= {f"train.losses.{name}": weight for name, weight in PROTOTYPE_LOSSES.items()}
    return changed(merged_params([ROOT / name for name in STUDIES[arguments.vae]]), settings)


def read_arguments() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vae", default="taef2", choices=list(STUDIES))
    parser.add_argument("--cut", default="f4")
    parser.add_argument("--crop", type=int, default=128, help="side in pixels")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--wait-steps", type=int, default=20, help="steps in which waiting for crops is measured")
    parser.add_argument("--clock", default="wall", choices=list(CLOCKS), help="cpu: for one thread of a busy machine")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", default="auto", choices=["auto", "float32", "bfloat16"])
    return parser.parse_args()


def main(arguments: argparse.Namespace) -> None:
    """Measure and print."""
    torch.set_num_threads(arguments.threads)
    with TemporaryDirectory() as folder:
        study = prepare(read_params(arguments), arguments.cut, Path(folder))
        timed = compare(study, arguments.rounds, CLOCKS[arguments.clock])
        shares = [f"{wait_share(study, workers, arguments.wait_steps):.2%} ({workers} workers)" for workers in (0, 1)]
    images = "BSDS500" if photographs() else "noise"
    print(f"{arguments.vae} {arguments.cut}, crops of {arguments.crop} pixels ({images}), {machine(study.params)}\n")
    print(shown(timed))
    print(f"\nWaiting for crops, share of our step: {', '.join(shares)}")


if __name__ == "__main__":
    main(read_arguments())
