"""Benchmarking: every row through the same images, autoencoder and protocols; one long-form CSV per test set."""

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

    A set that is not available has one cell a protocol, of which only protocol, set and reason are not empty.
    """

    protocol: str
    set: str
    image: str = ""
    upscaler: str = ""
    target: str = ""
    metric: str = ""
    value: str = ""
    reason: str = ""


@torch.inference_mode()
def benchmark_set(
    params: Params,
    dataset_manifest: Path,
    autoencoder: FrozenAutoencoder,
    field: VectorField,
    output: Path,
    images: Path,
    threads: int,
) -> None:
    """Measure every row of `benchmark.upscalers` on one set under every protocol of `benchmark.protocols`.

    Writes the CSV and, below `images`/<set>, the pictures `report.gallery` names as the first protocol made them; for a
    set that is not available, the reason and an empty folder.

    Raises:
        ValueError: unknown upscaler, a field for another scale or autoencoder, an image too small.
        FileNotFoundError: an image or a metric asked for by name is missing.
    """
    torch.set_num_threads(threads)
    manifest, protocols = read_json(dataset_manifest), [PROTOCOLS[name] for name in params.benchmark.protocols]
    name, folder = manifest["name"], images / manifest["name"]
    upscalers = build_upscalers(params.benchmark.upscalers, field, params.seed)
    if not manifest.get("available", True):
        folder.mkdir(parents=True, exist_ok=True)
        write_csv(output, [asdict(Cell(protocol.name, name, reason=manifest["reason"])) for protocol in protocols])
        return
    lpips = load_lpips(params.benchmark.lpips, params.runtime.device)
    files, cells = manifest_files(dataset_manifest), []
    with progress_bar(f"benchmark {name}", len(files) * len(protocols) * len(upscalers)) as advance:
        for image, protocol, sample in prepared(files, protocols, autoencoder, params):
            kept = (*params.report.gallery, *TARGET_ROWS) if protocol is protocols[0] else ()
            write_pictures(folder, image, {"hr": sample.x_H, "lr": sample.x_L}, kept)
            for upscaler in upscalers:
                rendering, f_H = render(upscaler, sample, field.config.cut, params)
                place = (protocol.name, name, image, upscaler.name)
                cells += [Cell(*place, *found) for found in measure(rendering, f_H, sample, protocol, lpips)]
                write_pictures(folder, image, {upscaler.name: rendering.image}, kept)
                advance(f"{image} {protocol.name} {upscaler.name}")
    write_csv(output, [asdict(cell) for cell in cells])


def prepared(
    files: Sequence[Path], protocols: Sequence[Protocol], autoencoder: FrozenAutoencoder, params: Params
) -> Iterator[tuple[str, Protocol, Sample]]:
    """Image name, protocol and sample; `benchmark.batch` files at a time, whose images are encoded together."""
    batch = params.benchmark.batch
    for start in range(0, len(files), batch):
        images = {file.stem: read_image(file).to(params.runtime.device) for file in files[start : start + batch]}
        for protocol in protocols:
            samples = {name: protocol.sample(image, autoencoder, params.scale) for name, image in images.items()}
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
