"""Benchmarking: every row through the same images, autoencoder and protocols; a long-form CSV per scale and test set.

The rows of a set may be measured by several independent jobs (shards): which job measures a row changes nothing in it.
"""

import csv
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from fsr.autoencoders import FrozenAutoencoder
from fsr.config import Params
from fsr.datasets import manifest_files
from fsr.files import read_json, write_csv
from fsr.flow.field import VectorField
from fsr.images import read_image, write_image
from fsr.metrics.detail import high_frequency_error, low_frequency_drift
from fsr.metrics.fidelity import l1
from fsr.metrics.perceptual import Lpips, load_lpips
from fsr.metrics.protocol import PROTOCOLS, Protocol
from fsr.precision import autocast
from fsr.progress import progress_bar
from fsr.upscalers import Rendering, Sample, Upscaler, build_upscalers, encode_together

TARGET_ROWS = ("hr", "vae_roundtrip")
NOT_IN_FEATURES = "not a method in feature space"


@dataclass(frozen=True)
class Cell:
    """One number of one row on one image; an empty `value` has its `reason`.

    A set that is not available has one cell a protocol, of which only protocol, scale, set and reason are not empty.
    """

    protocol: str
    scale: int
    set: str
    image: str = ""
    upscaler: str = ""
    target: str = ""
    metric: str = ""
    value: str = ""
    reason: str = ""


@dataclass(frozen=True)
class RowFiles:
    """Where a shard's cells (CSV) and its pictures (a folder of <row>/<image>.png) go."""

    cells: Path
    pictures: Path


@torch.inference_mode()
def benchmark_rows(
    params: Params,
    dataset_manifest: Path,
    scale: int,
    shard: int,
    autoencoder: FrozenAutoencoder,
    field: VectorField,
    files: RowFiles,
) -> None:
    """Measure every `benchmark.shards`-th row of `benchmark.upscalers`, from the `shard`-th on, on one set at `scale`.

    Each row is measured under every protocol of `benchmark.protocols`; its pictures, where `report.gallery` names it,
    are of the first. The first shard also writes the pictures that are of no row, `hr` and `lr`, and, of a set that is
    not available, the reason.

    Raises:
        ValueError: unknown upscaler, a field for other scales, an image too small.
        FileNotFoundError: an image or a metric asked for by name is missing.
    """
    manifest, protocols = read_json(dataset_manifest), [PROTOCOLS[name] for name in params.benchmark.protocols]
    name, cells, first = manifest["name"], [], shard == 0
    upscalers = build_upscalers(params.benchmark.upscalers, field, params.seed)[shard :: params.benchmark.shards]
    files.pictures.mkdir(parents=True, exist_ok=True)
    if not manifest.get("available", True):
        absent = [Cell(protocol.name, scale, name, reason=manifest["reason"]) for protocol in protocols if first]
        write_csv(files.cells, [asdict(cell) for cell in absent])
        return
    lpips = load_lpips(params.benchmark.lpips, params.runtime.device)
    images = manifest_files(dataset_manifest)
    with progress_bar(f"benchmark x{scale} {name}", len(images) * len(protocols) * len(upscalers)) as advance:
        for image, protocol, sample in prepared(images, protocols, scale, autoencoder, params):
            kept = (*params.report.gallery, *TARGET_ROWS) if protocol is protocols[0] else ()
            if first:
                write_pictures(files.pictures, image, {"hr": sample.x_H, "lr": sample.x_L}, kept)
            for upscaler in upscalers:
                rendering, f_H = render(upscaler, sample, field.config.cut, params)
                place = (protocol.name, scale, name, image, upscaler.name)
                cells += [Cell(*place, *found) for found in measure(rendering, f_H, sample, protocol, lpips)]
                write_pictures(files.pictures, image, {upscaler.name: rendering.image}, kept)
                advance(f"{image} {protocol.name} {upscaler.name}")
    write_csv(files.cells, [asdict(cell) for cell in cells])


def join_rows(params: Params, shards: Sequence[RowFiles], table: Path, pictures: Path) -> None:
    """Write the cells and pictures of all shards of a set as one job would have written them.

    Raises:
        ValueError: the shards do not hold the rows of `benchmark.upscalers`.
    """
    cells = [cell for shard in shards for cell in _read_cells(shard.cells)]
    rows = {name: position for position, name in enumerate(params.benchmark.upscalers)}
    measured = {cell["upscaler"] for cell in cells} - {""}
    if measured and measured != set(rows):
        folder, differing = shards[0].cells.parents[1], ", ".join(sorted(measured ^ set(rows)))
        raise ValueError(f"the shards in {folder} differ from benchmark.upscalers in {differing}; delete them")
    rendered = {key: position for position, key in enumerate(dict.fromkeys(map(_sample_of, cells)))}
    cells.sort(key=lambda cell: (rendered[_sample_of(cell)], rows.get(cell["upscaler"], 0)))
    write_csv(table, cells)
    pictures.mkdir(parents=True, exist_ok=True)
    for shard in shards:
        shutil.copytree(shard.pictures, pictures, dirs_exist_ok=True)


def _read_cells(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def _sample_of(cell: dict[str, str]) -> tuple[str, str]:
    return cell["image"], cell["protocol"]


def prepared(
    files: Sequence[Path],
    protocols: Sequence[Protocol],
    scale: int,
    autoencoder: FrozenAutoencoder,
    params: Params,
) -> Iterator[tuple[str, Protocol, Sample]]:
    """Image name, protocol and sample; `benchmark.batch` files at a time, whose images are encoded together."""
    batch = params.benchmark.batch
    for start in range(0, len(files), batch):
        images = {file.stem: read_image(file).to(params.runtime.device) for file in files[start : start + batch]}
        for protocol in protocols:
            samples = {name: protocol.sample(image, autoencoder, scale) for name, image in images.items()}
            with autocast(params.runtime.device, params.benchmark.dtype):
                encode_together(list(samples.values()), batch)
            for name in images:
                yield name, protocol, samples.pop(name)


def render(upscaler: Upscaler, sample: Sample, cut: str, params: Params) -> tuple[Rendering, Tensor]:
    """What a row makes of a sample, and f_H at `cut`, in the precision of `benchmark.dtype`."""
    with autocast(params.runtime.device, params.benchmark.dtype):
        return upscaler(sample), sample.f_H(cut)


def measure(
    rendering: Rendering, f_H: Tensor, sample: Sample, protocol: Protocol, lpips: Lpips
) -> Iterator[tuple[str, str, str, str]]:
    """(target, metric, value, reason) of every metric against both targets."""
    output = protocol.output(rendering.image.float())
    base = protocol.output(sample.x_base.float())
    for target_name, raw in (("x_H_rec", sample.x_H_rec.float()), ("hr", sample.x_H)):
        target = protocol.output(raw)
        for metric, value in protocol.fidelity(output, target, sample.scale).items():
            yield target_name, metric, number(value), ""
        yield target_name, "hf_error", number(high_frequency_error(output, target)), ""
        if lpips.network is None:
            yield target_name, "lpips", "", lpips.reason
        else:
            yield target_name, "lpips", number(lpips(protocol.lpips_view(output), protocol.lpips_view(target))), ""
    yield "x_H_rec", "lf_drift", number(low_frequency_drift(output, base)), ""
    if rendering.feature is None:
        yield "x_H_rec", "feature_l1", "", NOT_IN_FEATURES
    else:
        yield "x_H_rec", "feature_l1", number(l1(rendering.feature, f_H)), ""


def write_pictures(folder: Path, name: str, pictures: Mapping[str, Tensor], kept: Collection[str]) -> None:
    """Write the rows that are kept as <row>/<name>.png."""
    for row, picture in pictures.items():
        if row in kept:
            write_image(folder / row / f"{name}.png", picture)


def number(value: float) -> str:
    """Eight significant digits: enough to tell runs apart, and what 'the same tables' means."""
    return f"{value:.8g}"
