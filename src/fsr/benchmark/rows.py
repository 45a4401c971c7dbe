"""Every row through the same images, autoencoder and protocols; a long-form CSV per scale and test set.

A set is measured paired, each image being the high resolution of its own low one; and, where data.base_only names it,
base-only, its images enlarged as they are. The images of a set may be shared out to several independent jobs (shards):
which job measures an image changes nothing in its numbers.
"""

import csv
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from fsr.allocation import give_back
from fsr.autoencoders import FrozenAutoencoder
from fsr.benchmark.cells import Cell, measure, targets_of
from fsr.benchmark.features import Extractor, join_features
from fsr.config import Params
from fsr.config.rows import CEILING
from fsr.datasets import manifest_files
from fsr.files import read_json, write_csv
from fsr.flow.field import VectorField
from fsr.images import read_image, write_image
from fsr.metrics.perceptual import load_perceptual
from fsr.metrics.protocol import PROTOCOLS, Protocol
from fsr.precision import autocast
from fsr.progress import progress_bar
from fsr.upscalers import Rendering, Sample, Upscaler, build_upscalers, encode_together

TARGET_ROWS = ("hr", "vae_roundtrip")


@dataclass(frozen=True)
class RowFiles:
    """Where a shard's cells (CSV), its pictures (<row>/<image>.png) and its features (<row>.safetensors) go."""

    cells: Path
    pictures: Path
    features: Path


@torch.inference_mode()
def benchmark_rows(
    params: Params,
    dataset_manifest: Path,
    scale: int,
    shard: int,
    autoencoder: FrozenAutoencoder,
    field: VectorField,
    files: RowFiles,
    rivals: Mapping[str, Upscaler] | None = None,
    paired: bool = True,
) -> None:
    """Measure every row of `benchmark.upscalers` on the `shard`-th of `benchmark.shards` shares of a set, at `scale`.

    Each row is measured under every protocol of `benchmark.protocols`; its pictures, where `report.gallery` names it,
    and its features, where distributions are asked for, are of the first. Of a set that is not available the first
    shard writes the reason.

    Args:
        rivals: rows of methods of others, by name (`fsr.upscalers.rival_upscalers`).
        paired: each image is the high resolution; else it is the low one, there is none, and
            `benchmark.base_only_images` may leave some out.

    Raises:
        ValueError: unknown upscaler, a field for other scales, an image too small.
        FileNotFoundError: an image or a metric that is required is missing.
    """
    manifest, protocols = read_json(dataset_manifest), [PROTOCOLS[name] for name in params.benchmark.protocols]
    name, cells = manifest["name"], []
    upscalers = build_upscalers(_rows(params, paired), field, params.seed, rivals)
    for folder in (files.pictures, files.features):
        folder.mkdir(parents=True, exist_ok=True)
    if not manifest.get("available", True):
        absent = [Cell(protocol.name, scale, name, reason=manifest["reason"]) for protocol in protocols if shard == 0]
        write_csv(files.cells, [asdict(cell) for cell in absent])
        return
    device = params.runtime.device
    perceptual = load_perceptual(params.benchmark.perceptual, device, params.benchmark.dtype)
    extractor = Extractor(params, device)
    images, what = manifest_files(dataset_manifest), "benchmark" if paired else "base-only"
    images = share(images if paired else images[: params.benchmark.base_only_images], shard, params)
    with progress_bar(f"{what} x{scale} {name}", len(images) * len(protocols) * len(upscalers)) as advance:
        for image, protocol, sample in prepared(images, protocols, scale, autoencoder, params, paired):
            shown = protocol is protocols[0]
            kept = (*params.report.gallery, *TARGET_ROWS) if shown else ()
            targets = targets_of(sample, protocol, perceptual)
            write_pictures(files.pictures, image.stem, {"hr": sample.x_H, "lr": sample.x_L}, kept)
            for upscaler in upscalers:
                rendering, f_H = render(upscaler, sample, params)
                place = (protocol.name, scale, name, image.stem, upscaler.name)
                measured = measure(rendering, f_H, sample, targets, protocol, perceptual)
                cells += [Cell(*place, *found) for found in measured]
                write_pictures(files.pictures, image.stem, {upscaler.name: rendering.image}, kept)
                if shown:
                    extractor.add(upscaler.name, image, protocol.output(rendering.image.float()))
                advance(f"{image.stem} {protocol.name} {upscaler.name}")
            give_back()
    write_csv(files.cells, [asdict(cell) for cell in cells])
    extractor.write(files.features)


def share(images: Sequence[Path], shard: int, params: Params) -> list[Path]:
    """The `shard`-th of `benchmark.shards` parts of a set, in order; what is encoded together stays together."""
    batch, shards = params.benchmark.batch, params.benchmark.shards
    batches = [images[start : start + batch] for start in range(0, len(images), batch)]
    first, end = (len(batches) * number // shards for number in (shard, shard + 1))
    return list(chain.from_iterable(batches[first:end]))


def join_rows(params: Params, shards: Sequence[RowFiles], joined: RowFiles, paired: bool = True) -> None:
    """Write the cells, pictures and features of all shards of a set as one job would have written them.

    Raises:
        ValueError: the shards do not hold the rows of `benchmark.upscalers`.
    """
    cells = [cell for shard in shards for cell in _read_cells(shard.cells)]
    measured = {cell["upscaler"] for cell in cells} - {""}
    differing = ", ".join(sorted(measured ^ set(_rows(params, paired)))) if measured else ""
    if differing:
        folder = shards[0].cells.parents[1]
        raise ValueError(f"the shards in {folder} differ from benchmark.upscalers in {differing}; delete them")
    write_csv(joined.cells, cells)
    joined.pictures.mkdir(parents=True, exist_ok=True)
    for shard in shards:
        shutil.copytree(shard.pictures, joined.pictures, dirs_exist_ok=True)
    join_features([shard.features for shard in shards], joined.features)


def _rows(params: Params, paired: bool) -> list[str]:
    return [row for row in params.benchmark.upscalers if paired or row != CEILING]


def _read_cells(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def prepared(
    files: Sequence[Path],
    protocols: Sequence[Protocol],
    scale: int,
    autoencoder: FrozenAutoencoder,
    params: Params,
    paired: bool = True,
) -> Iterator[tuple[Path, Protocol, Sample]]:
    """Image file, protocol and sample; `benchmark.batch` files at a time, whose images are encoded together."""
    batch = params.benchmark.batch
    for start in range(0, len(files), batch):
        images = {file: read_image(file).to(params.runtime.device) for file in files[start : start + batch]}
        for protocol in protocols:
            make = protocol.sample if paired else protocol.base_sample
            samples = {file: make(image, autoencoder, scale) for file, image in images.items()}
            with autocast(params.runtime.device, params.benchmark.dtype):
                encode_together(list(samples.values()), batch)
            for file in images:
                yield file, protocol, samples.pop(file)


def render(upscaler: Upscaler, sample: Sample, params: Params) -> tuple[Rendering, Tensor | None]:
    """What a row makes of a sample, and f_H at the row's own cut, if any, in the precision of `benchmark.dtype`."""
    with autocast(params.runtime.device, params.benchmark.dtype):
        rendering = upscaler(sample)
        aimed_at = rendering.cut is not None and sample.x_H is not None
        return rendering, sample.f_H(rendering.cut) if aimed_at else None


def write_pictures(folder: Path, name: str, pictures: Mapping[str, Tensor | None], kept: Collection[str]) -> None:
    """Write the rows that are kept, and that there are, as <row>/<name>.png."""
    for row, picture in pictures.items():
        if row in kept and picture is not None:
            write_image(folder / row / f"{name}.png", picture)
