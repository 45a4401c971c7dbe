"""Benchmarking: every row through the same images, autoencoder and protocol; one long-form CSV per test set."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from fsr.autoencoders import FrozenAutoencoder
from fsr.autoencoders.frozen import DTYPES
from fsr.config import Params
from fsr.datasets import manifest_files
from fsr.files import read_json, write_csv
from fsr.flow.field import VectorField
from fsr.images import read_image, write_image
from fsr.metrics.detail import high_frequency_error, low_frequency_drift
from fsr.metrics.fidelity import l1
from fsr.metrics.perceptual import Lpips, load_lpips
from fsr.metrics.protocol import PROTOCOLS, Protocol
from fsr.progress import progress_bar
from fsr.upscalers import Rendering, Sample, build_upscalers

NOT_IN_FEATURES = "not a method in feature space"


@dataclass(frozen=True)
class Cell:
    """One number of one row on one image; an empty `value` has its `reason`."""

    protocol: str
    set: str
    image: str
    upscaler: str
    target: str
    metric: str
    value: str
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
    """Measure every row of `benchmark.upscalers` on one set, write the CSV and the pictures `report.gallery` names.

    Raises:
        ValueError: unknown upscaler, a field for another scale or autoencoder, an image too small.
        FileNotFoundError: an image or a metric asked for by name is missing.
    """
    torch.set_num_threads(threads)
    protocol = PROTOCOLS[params.benchmark.protocol]
    lpips = load_lpips(params.benchmark.lpips, params.runtime.device)
    upscalers = build_upscalers(params.benchmark.upscalers, field, params.seed)
    name, files = read_json(dataset_manifest)["name"], manifest_files(dataset_manifest)
    cells: list[Cell] = []
    with progress_bar(f"benchmark {name}", len(files) * len(upscalers)) as advance:
        for file in files:
            sample = protocol.sample(read_image(file).to(params.runtime.device), autoencoder, params.scale)
            keep_picture(images, params, name, "hr", file, sample.x_H)
            keep_picture(images, params, name, "lr", file, sample.x_L)
            for upscaler in upscalers:
                with torch.autocast(
                    params.runtime.device.split(":")[0],
                    DTYPES[params.benchmark.dtype],
                    enabled=params.benchmark.dtype != "float32",
                ):
                    rendering = upscaler(sample)
                    f_H = sample.f_H(field.config.cut)
                measured = measure(rendering, f_H, sample, protocol, lpips)
                place = (protocol.name, name, file.stem, upscaler.name)
                cells += [Cell(*place, *measurement) for measurement in measured]
                keep_picture(images, params, name, upscaler.name, file, rendering.image)
                advance(f"{file.stem} {upscaler.name}")
    write_csv(output, [asdict(cell) for cell in cells])


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
            yield target_name, "lpips", number(lpips(output, target)), ""
    yield "x_H_rec", "lf_drift", number(low_frequency_drift(output, base)), ""
    if rendering.feature is None:
        yield "x_H_rec", "feature_l1", "", NOT_IN_FEATURES
    else:
        yield "x_H_rec", "feature_l1", number(l1(rendering.feature, f_H)), ""


def keep_picture(images: Path, params: Params, set_name: str, row: str, file: Path, image: Tensor) -> None:
    """Write one output as PNG, if the report shows that row."""
    if row in params.report.gallery or row in ("hr", "vae_roundtrip"):
        write_image(images / set_name / row / f"{file.stem}.png", image)


def number(value: float) -> str:
    """Eight significant digits: enough to tell runs apart, and what 'the same tables' means."""
    return f"{value:.8g}"
