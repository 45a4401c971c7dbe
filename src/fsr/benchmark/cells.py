"""The numbers of a benchmark in long form, and how one output is measured."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from fsr.metrics.detail import base_measures, high_frequency_error, low_frequency_drift
from fsr.metrics.fidelity import l1
from fsr.metrics.perceptual import PerceptualMetric
from fsr.metrics.protocol import Protocol
from fsr.upscalers import Rendering, Sample

NOT_IN_FEATURES = "not a method in feature space"

Measured = tuple[str, str, str, str]  # target, metric, value, reason


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
class Target:
    """An image outputs are compared with, as the protocol has it, and its features for each perceptual metric."""

    name: str
    image: Tensor
    features: Mapping[str, list[Tensor]]


def targets_of(sample: Sample, protocol: Protocol, perceptual: Sequence[PerceptualMetric]) -> list[Target]:
    """What every row of a sample is compared with: x_H_rec and hr; nothing where there is no high resolution."""
    if sample.x_H is None:
        return []
    images = {"x_H_rec": protocol.output(sample.x_H_rec.float()), "hr": protocol.output(sample.x_H)}
    return [Target(name, image, _features(image, protocol, perceptual)) for name, image in images.items()]


def _features(image: Tensor, protocol: Protocol, perceptual: Sequence[PerceptualMetric]) -> dict[str, list[Tensor]]:
    view = protocol.perceptual_view(image)
    return {metric.name: metric.features(view) for metric in perceptual if metric.network is not None}


def measure(
    rendering: Rendering,
    f_H: Tensor | None,
    sample: Sample,
    targets: Sequence[Target],
    protocol: Protocol,
    perceptual: Sequence[PerceptualMetric],
) -> Iterator[Measured]:
    """Every metric of an output: against both targets where there is a high-resolution image, and against x_L.

    Args:
        f_H: the high-resolution feature at the cut of the rendering's; None where there is none.
        targets: of `targets_of`.
    """
    output = protocol.output(rendering.image.float())
    if targets:
        features = _features(output, protocol, perceptual)
        for target in targets:
            yield from _paired(output, features, target, sample.scale, protocol, perceptual)
        yield _feature_distance(rendering.feature, f_H)
    yield from _base(output, sample, protocol)


def _paired(
    output: Tensor,
    features: Mapping[str, list[Tensor]],
    target: Target,
    scale: int,
    protocol: Protocol,
    perceptual: Sequence[PerceptualMetric],
) -> Iterator[Measured]:
    for metric, value in protocol.fidelity(output, target.image, scale).items():
        yield target.name, metric, number(value), ""
    yield target.name, "hf_error", number(high_frequency_error(output, target.image)), ""
    for metric in perceptual:
        if metric.network is None:
            yield target.name, metric.name, "", metric.reason
        else:
            distance = metric.distance(features[metric.name], target.features[metric.name])
            yield target.name, metric.name, number(distance), ""


def _feature_distance(feature: Tensor | None, f_H: Tensor | None) -> Measured:
    if feature is None:
        return "x_H_rec", "feature_l1", "", NOT_IN_FEATURES
    return "x_H_rec", "feature_l1", number(l1(feature, f_H)), ""


def _base(output: Tensor, sample: Sample, protocol: Protocol) -> Iterator[Measured]:
    base = protocol.output(sample.x_base.float())
    measures = base_measures(
        output, sample.x_L, base, sample.scale, sample.resampling, reflected_ssim=protocol.reflected_ssim
    )
    for metric, value in (measures | {"lf_drift": low_frequency_drift(output, base)}).items():
        yield "lr", metric, number(value), ""


def number(value: float) -> str:
    """Eight significant digits: enough to tell runs apart, and what 'the same tables' means."""
    return f"{value:.8g}"
