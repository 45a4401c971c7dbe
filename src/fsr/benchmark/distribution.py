"""Distances between the distributions of a row's images and of the reference sets: a long-form CSV."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from fsr.benchmark.cells import number
from fsr.benchmark.features import CLIP
from fsr.config import Params
from fsr.config.rows import CEILING
from fsr.files import write_csv
from fsr.metrics.distribution import LEAST_SAMPLES, Distance, frechet_distance, kernel_distance
from fsr.metrics.features import load_feature_net

PREFIX = {"images": "", "patches": "patch_"}


@dataclass(frozen=True)
class RowFeatures:
    """Where the features of a set's rows lie, a file a row; `mode` is "paired" or "base_only"."""

    scale: int
    set: str
    mode: str
    folder: Path


@dataclass(frozen=True)
class Line:
    """One number of one row, or the `reason` why there is none.

    Attributes:
        features: the feature net. metric: fd, kd (of images), patch_fd, patch_kd, or clip, which needs no reference.
        std: of a kernel distance over its subsets, of a cosine over images.
        flag: what a reader must know of the number.
    """

    scale: int
    set: str
    mode: str
    reference: str
    upscaler: str
    features: str
    metric: str
    value: str = ""
    std: str = ""
    samples: int = 0
    reference_samples: int = 0
    subset_size: str = ""
    flag: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Told:
    """What holds for all rows: {reference set: its features}, and {feature net: why it is not at hand, or ""}."""

    references: Mapping[str, Mapping[str, Tensor]]
    reasons: Mapping[str, str]


def tabulate_distributions(
    params: Params, rows: Sequence[RowFeatures], references: Mapping[str, Path], output: Path
) -> None:
    """Write a line for every set, row, reference, feature net and distance; a header alone where none is asked for.

    Args:
        references: {set: file of its features}.
    """
    nets = params.benchmark.distribution.features
    told = Told(
        {name: load_file(path) for name, path in references.items()},
        {net: load_feature_net(net, "cpu").reason for net in nets},
    )
    lines = [line for found in rows for line in _lines(params, found, told)]
    write_csv(output, [asdict(line) for line in lines], list(Line.__dataclass_fields__))


def _lines(params: Params, found: RowFeatures, told: Told) -> Iterator[Line]:
    for upscaler in params.benchmark.upscalers:
        if upscaler == CEILING and found.mode == "base_only":
            continue
        file = found.folder / f"{upscaler}.safetensors"
        tensors = load_file(file) if file.is_file() else {}
        place = Line(found.scale, found.set, found.mode, "", upscaler, "", "")
        for reference, net in product(told.references, params.benchmark.distribution.features):
            yield from _distances(params, tensors, told, replace(place, reference=reference, features=net))
        if params.benchmark.distribution.clip:
            yield _cosine(tensors.get(CLIP), replace(place, features=CLIP, metric=CLIP))


def _distances(params: Params, features: Mapping[str, Tensor], told: Told, place: Line) -> Iterator[Line]:
    settings, reference = params.benchmark.distribution, told.references[place.reference]
    for kind, prefix in PREFIX.items():
        name = f"{place.features}.{kind}"
        ours, theirs = features.get(name), reference.get(name)
        counts = [0 if sample is None else len(sample) for sample in (ours, theirs)]
        own = replace(place, samples=counts[0], reference_samples=counts[1])
        if min(counts) < LEAST_SAMPLES:
            sides = {place.set: features, place.reference: reference}
            reason = told.reasons[place.features] or _why_empty(sides, name, counts, settings.patch_size)
            yield from (replace(own, metric=f"{prefix}{metric}", reason=reason) for metric in ("fd", "kd"))
            continue
        yield _measured(replace(own, metric=f"{prefix}fd"), frechet_distance(ours, theirs))
        distance = kernel_distance(ours, theirs, settings.subsets, settings.subset_size, params.seed)
        yield _measured(replace(own, metric=f"{prefix}kd"), distance)


def _why_empty(sides: Mapping[str, Mapping[str, Tensor]], name: str, counts: Sequence[int], patch_size: int) -> str:
    """Why one of two sets has too few of the features `name`.

    Args:
        sides: {set: all its features}.
    """
    for label, tensors in sides.items():
        if name not in tensors:
            small = f"an image of {label} is smaller than a patch of {patch_size} pixels"
            return small if tensors else f"{label} is not available"
    return f"a distance needs {LEAST_SAMPLES} samples on either side, not {counts[0]} and {counts[1]}"


def _measured(line: Line, distance: Distance) -> Line:
    std = "" if distance.std is None else number(distance.std)
    size = "" if distance.subset_size is None else str(distance.subset_size)
    return replace(line, value=number(distance.value), std=std, subset_size=size, flag=distance.flag)


def _cosine(cosines: Tensor | None, line: Line) -> Line:
    if cosines is None:
        return replace(line, reason=f"no prompts beside the images of {line.set}, or it is not available")
    mean, std = cosines.mean().item(), cosines.std(correction=0).item()
    return replace(line, value=number(mean), std=number(std), samples=len(cosines))
