"""The cut probe: what feature bicubic loses at each cut, what a field there would cost, and which cut is best."""

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from fsr.autoencoders import FrozenAutoencoder
from fsr.config import Params
from fsr.files import write_json
from fsr.flow.field import build_field
from fsr.flow.objective import amplitude_spectrum
from fsr.flow.path import feature_pair
from fsr.images import RESAMPLINGS, write_image
from fsr.latents import CROP_BORDER, LatentBatch, LatentCache
from fsr.memory import is_out_of_memory, peak_memory_gib
from fsr.metrics.detail import (
    high_frequency_energy,
    high_frequency_error,
    low_frequency_contrast,
    low_frequency_drift,
)
from fsr.metrics.fidelity import crop_border, l1
from fsr.precision import autocast, autocast_dtype
from fsr.progress import progress_bar
from fsr.randomness import generator

GRID_CROPS = 4
PERTURBATION = 0.01
TIMED_REPEATS = 3
LARGEST_PIXEL = 8.0
LARGEST_RGB_L1 = 2.0


@dataclass(frozen=True)
class CutReport:
    """What the probe measured at one cut.

    `per_crop` columns are lists over all `crops` at the first scale, then over all of them at the next; pixel measures
    are in [-1, 1] units. The first eight columns are the method's; the others make the score's terms dimensionless.
    """

    cut: str
    stage: str
    status: str  # ok, oom or failed
    reason: str = ""
    crops: int = 0
    per_crop: dict[str, list[float]] = field(default_factory=dict)
    broken: int = 0
    relative_cost: float | None = None
    head_ms: float | None = None
    tail_ms: float | None = None
    peak_memory_gib: float | None = None


def probe_cut(
    params: Params, cut: str, manifest: Path, autoencoder: FrozenAutoencoder, output: Path, picture: Path, threads: int
) -> None:
    """Probe one cut over the first `probe.crops` training crops at every scale; write its report (JSON) and a picture.

    The renderings are of the first crops, at the first scale. A cut that runs out of memory is reported, not raised.

    Raises:
        ValueError: the decoder has no such cut.
    """
    torch.set_num_threads(threads)
    stage = autoencoder.decoder.stages[autoencoder.decoder.position(cut) - 1].name
    cache = LatentCache(manifest)
    try:
        report = _measure(params, cut, stage, cache, autoencoder)
        strip = _strip(params, cut, cache, autoencoder)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        report = CutReport(cut, stage, "oom", reason=str(error).splitlines()[0] if str(error) else "out of memory")
        size = params.latents.crop_size
        strip = torch.zeros(3, size * min(GRID_CROPS, len(cache)), size)
    write_image(picture, strip)
    write_json(output, asdict(report))


def _autocast(params: Params) -> torch.autocast:
    return autocast(params.runtime.device, autocast_dtype(params.runtime))


@torch.inference_mode()
def _measure(params: Params, cut: str, stage: str, cache: LatentCache, autoencoder: FrozenAutoencoder) -> CutReport:
    columns: dict[str, list[float]] = {}
    broken, head_times, tail_times = 0, [], []
    count = min(params.probe.crops, len(cache))
    with progress_bar(f"probe {cut}", count * len(params.scales)) as advance:
        for scale, index in product(params.scales, range(count)):
            batch = cache.batch([index], scale)  # before autocast, which on a CPU cannot stack float16
            with _autocast(params):
                measured, times, is_broken = _measure_crop(params, cut, index, batch, autoencoder)
            if index < TIMED_REPEATS:
                head_times.append(times[0])
                tail_times.append(times[1])
            broken += is_broken
            for name, value in measured.items():
                columns.setdefault(name, []).append(value)
            advance("")
    return CutReport(
        cut,
        stage,
        "ok",
        crops=count,
        per_crop=columns,
        broken=broken,
        relative_cost=relative_cost(params, cut, autoencoder),
        head_ms=1000 * statistics.median(head_times),
        tail_ms=1000 * statistics.median(tail_times),
        peak_memory_gib=peak_memory_gib(params.runtime.device),
    )


def _measure_crop(
    params: Params, cut: str, index: int, batch: LatentBatch, autoencoder: FrozenAutoencoder
) -> tuple[dict[str, float], tuple[float, float], bool]:
    """Measures of one crop, seconds of head and tail, and whether the decode is broken."""
    batch = batch.to(params.runtime.device)
    pair, head_seconds = _timed(lambda: feature_pair(autoencoder, batch.z_H, batch.z_L, cut))
    decoded, tail_seconds = _timed(lambda: autoencoder.tail(pair.f_B, cut))
    noise = torch.randn(pair.f_B.shape, generator=generator(params.seed, "probe", index)).to(pair.f_B.device)
    e = PERTURBATION * pair.f_B.float().std() * noise
    moved = autoencoder.tail((pair.f_B.float() + e).to(pair.f_B.dtype), cut)
    x_base = RESAMPLINGS[params.latents.protocol].enlarge(batch.x_L_rec, batch.scale)
    images = (decoded, batch.x_H_rec, x_base, moved)
    x_feat, x_H_rec, x_base, moved = (autoencoder.normalise(crop_border(x, CROP_BORDER)) for x in images)
    stride = decoded.shape[-1] // pair.f_B.shape[-1]
    f_B, f_H, e = (crop_border(f.float(), CROP_BORDER // stride) for f in (pair.f_B, pair.f_H, e))
    measured = {
        "rgb_l1": l1(x_feat, x_H_rec),
        "hf_error": high_frequency_error(x_feat, x_H_rec),
        "lf_drift": low_frequency_drift(x_feat, x_base),
        "feature_l1": l1(f_B, f_H),
        "fft_gap": l1(amplitude_spectrum(f_B), amplitude_spectrum(f_H)),
        "mean_gap": l1(f_B.mean(dim=(2, 3)), f_H.mean(dim=(2, 3))),
        "std_gap": l1(f_B.std(dim=(2, 3)), f_H.std(dim=(2, 3))),
        "sensitivity": l1(moved, x_feat) / e.abs().mean().item(),
        "hf_energy": high_frequency_energy(x_H_rec),
        "fft_amplitude": amplitude_spectrum(f_H).mean().item(),
        "lf_contrast": low_frequency_contrast(x_H_rec),
        "pixel_contrast": _contrast(x_feat),
        "feature_contrast": _contrast(f_B),
    }
    return measured, (head_seconds, tail_seconds), is_broken(x_feat, measured["rgb_l1"])


def is_broken(x_feat: Tensor, rgb_l1: float) -> bool:
    """Whether a decode (in [-1, 1] units) is unusable: not finite, beyond 8, or further than 2 from the target."""
    return not torch.isfinite(x_feat).all() or x_feat.abs().max().item() > LARGEST_PIXEL or rgb_l1 > LARGEST_RGB_L1


def _contrast(values: Tensor) -> float:
    """Mean absolute deviation from each channel's mean."""
    return (values - values.mean(dim=(2, 3), keepdim=True)).abs().mean().item()


def _timed(call: Callable) -> tuple:
    started = time.perf_counter()
    result = call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return result, time.perf_counter() - started


@torch.inference_mode()
def relative_cost(params: Params, cut: str, autoencoder: FrozenAutoencoder) -> float:
    """FLOPs of field and tail for a crop, relative to decoding it whole."""
    size, device = params.latents.crop_size, params.runtime.device
    field = build_field(params, cut, autoencoder).to(device).eval()
    z = torch.zeros(
        1, autoencoder.latent_channels, size // autoencoder.factor, size // autoencoder.factor, device=device
    )
    f = autoencoder.head(z, cut).float()
    decode = count_flops(lambda: autoencoder.decode(z))
    tail = count_flops(lambda: autoencoder.tail(f.to(autoencoder.model.dtype), cut))
    velocity = count_flops(lambda: field(f, torch.zeros(1, device=device), f, params.scales[0]))
    return (velocity + tail) / decode


def count_flops(call: Callable[[], object]) -> int:
    """Floating-point operations of convolutions, matrix products and attention in `call`."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


@torch.inference_mode()
def _strip(params: Params, cut: str, cache: LatentCache, autoencoder: FrozenAutoencoder) -> Tensor:
    """x_feat of the first crops at the first scale, one below the other, (3, n S, S)."""
    first = list(range(min(GRID_CROPS, len(cache))))
    batch = cache.batch(first, params.scales[0]).to(params.runtime.device)
    with _autocast(params):
        images = autoencoder.tail(feature_pair(autoencoder, batch.z_H, batch.z_L, cut).f_B, cut)
    return torch.cat(list(images), dim=1)
