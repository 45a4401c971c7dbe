"""Distances between two samples of features: Frechet and kernel, and what tables call them."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric

from fsr.randomness import generator, integers

Kind = Literal["fd", "kd"]
LEAST_SAMPLES = 2
_LABELS = {
    "inception_fidelity": {"fd": "FID", "kd": "KID", "suffix": ""},
    "inception_torchvision": {"fd": "FID", "kd": "KID", "suffix": " (torchvision)"},
    "efficientnet_lite0": {"fd": "FD", "kd": "KD", "suffix": "-EffLite0"},
}


@dataclass(frozen=True)
class Distance:
    """A distance between samples; smaller is closer.

    Attributes:
        flag: what a reader must know of it; else empty.
        std: standard deviation over subsets, of a kernel distance.
        subset_size, subsets: samples in a subset, and how many were drawn, of a kernel distance.
    """

    value: float
    flag: str = ""
    std: float | None = None
    subset_size: int | None = None
    subsets: int | None = None


def label(net: str, kind: Kind, patches: bool) -> str:
    """What tables call the Frechet ("fd") or kernel ("kd") distance of a feature net's features, of images or patches.

    FID and KID are the names of distances between Inception's features alone.

    Raises:
        ValueError: unknown net.
    """
    if net not in _LABELS:
        raise ValueError(f"feature net {net!r} has no label; choose one of {', '.join(_LABELS)}")
    return ("p" if patches else "") + _LABELS[net][kind] + _LABELS[net]["suffix"]


def frechet_distance(features: Tensor, reference: Tensor) -> Distance:
    """Frechet distance between Gaussians fitted to features (N, D) and reference (M, D), in float64.

    It is flagged where a sample has no more images than dimensions: its covariance is then singular, and the distance
    is biased upwards by far. Source: Heusel et al. 2017 (arXiv 1706.08500); computed by torch-fidelity.

    Raises:
        ValueError: fewer than two samples on a side, features that differ in dimension or are not finite.
    """
    _check(features, reference)
    statistics = [fid_features_to_statistics(sample.double().cpu()) for sample in (features, reference)]
    value = fid_statistics_to_metric(*statistics, verbose=False)[KEY_METRIC_FID]
    fewest, dimensions = min(len(features), len(reference)), features.shape[1]
    singular = fewest <= dimensions
    return Distance(value, f"rank-deficient: {fewest} samples for {dimensions} dimensions" if singular else "")


def kernel_distance(features: Tensor, reference: Tensor, subsets: int, subset_size: int, seed: int) -> Distance:
    """Unbiased squared MMD of features (N, D) and reference (M, D), kernel (x.y / D + 1)^3; mean over random subsets.

    A subset holds `subset_size` samples of each, or as many as both have. Where that is every one of both, the subsets
    would be the same: there is one, and its spread is 0. It may be negative, being unbiased. Source: Binkowski et al.
    2018 (arXiv 1801.01401); computed by torch-fidelity, in float64.

    Raises:
        ValueError: fewer than two samples on a side or in a subset, features that differ in dimension or are not
            finite.
    """
    _check(features, reference)
    size = min(subset_size, len(features), len(reference))
    if size < LEAST_SAMPLES:
        raise ValueError(
            f"subsets of {subset_size} sample have no variance; set subset_size to {LEAST_SAMPLES} or more"
        )
    whole = size == len(features) == len(reference)
    found = kid_features_to_metric(
        features.double(),
        reference.double(),
        kid_subsets=1 if whole else subsets,
        kid_subset_size=size,
        kid_kernel="poly",
        kid_kernel_poly_degree=3,
        kid_kernel_poly_gamma=None,
        kid_kernel_poly_coef0=1,
        rng_seed=integers(2**32, 1, generator(seed, "kernel distance"))[0],
        verbose=False,
    )
    return Distance(
        value=found[KEY_METRIC_KID_MEAN],
        flag="one subset: it holds every sample" if whole else "",
        std=found[KEY_METRIC_KID_STD],
        subset_size=size,
        subsets=1 if whole else subsets,
    )


def _check(features: Tensor, reference: Tensor) -> None:
    shapes = tuple(features.shape), tuple(reference.shape)
    if features.ndim != 2 or reference.ndim != 2 or features.shape[1] != reference.shape[1]:
        raise ValueError(f"features {shapes[0]} and {shapes[1]} must be (N, D) and (M, D); take both from one network")
    if min(len(features), len(reference)) < LEAST_SAMPLES:
        raise ValueError(f"features {shapes[0]} and {shapes[1]} are too few; give {LEAST_SAMPLES} samples or more")
    if not (features.isfinite().all() and reference.isfinite().all()):
        raise ValueError("features are not finite; look for images that are not, or take benchmark.dtype float32")
