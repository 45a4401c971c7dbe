import math
from itertools import product

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from fsr.metrics.distribution import frechet_distance, kernel_distance, label


def sample(count: int, dimensions: int = 6, *, seed: int = 0, shift: float = 0.0) -> torch.Tensor:
    """Features with correlated dimensions."""
    source = torch.Generator().manual_seed(seed)
    mixing = torch.rand(dimensions, dimensions, generator=torch.Generator().manual_seed(seed + 100))
    return torch.randn(count, dimensions, generator=source) @ mixing + shift


def shuffled(features: torch.Tensor, seed: int) -> torch.Tensor:
    return features[torch.randperm(len(features), generator=torch.Generator().manual_seed(seed))]


def frechet_by_roots(features: np.ndarray, reference: np.ndarray) -> float:
    """|mu - mu'|^2 + tr(S + S' - 2 (S^1/2 S' S^1/2)^1/2)."""
    S, S_ref = np.cov(features, rowvar=False), np.cov(reference, rowvar=False)
    root = sqrtm(S)
    cross = sqrtm(root @ S_ref @ root).real
    return float(np.sum((features.mean(0) - reference.mean(0)) ** 2) + np.trace(S + S_ref - 2 * cross))


def mmd_by_pairs(features: np.ndarray, reference: np.ndarray) -> float:
    """Unbiased squared MMD: no sample is compared with itself."""

    def kernel(x, y):
        return (x @ y / len(x) + 1) ** 3

    def within(group):
        return np.mean([kernel(x, y) for (i, x), (j, y) in product(enumerate(group), repeat=2) if i != j])

    between = np.mean([kernel(x, y) for x, y in product(features, reference)])
    return float(within(features) + within(reference) - 2 * between)


def test_the_frechet_distance_is_that_of_its_formula():
    a, b = sample(40), sample(30, seed=1, shift=0.5)
    found = frechet_distance(a, b)
    assert found.value == pytest.approx(frechet_by_roots(a.double().numpy(), b.double().numpy()), rel=1e-8)
    assert found.flag == ""


def test_the_frechet_distance_of_gaussians_with_known_moments_is_known():
    """Of N(0, I) and N(m, s^2 I) in D dimensions: D m^2 + D (1 - s)^2, on samples made to have these moments."""
    x = sample(50, 2).double()
    x = torch.linalg.solve_triangular(torch.linalg.cholesky(x.T.cov()), (x - x.mean(0)).T, upper=False).T
    assert frechet_distance(x, 3 * x + 2).value == pytest.approx(2 * 4 + 2 * 4)


def test_equal_samples_have_no_frechet_distance_and_order_does_not_matter():
    a, b = sample(40), sample(30, seed=1)
    assert frechet_distance(a, shuffled(a, 3)).value == pytest.approx(0, abs=1e-8)
    assert frechet_distance(shuffled(a, 3), shuffled(b, 4)).value == pytest.approx(frechet_distance(a, b).value)
    assert frechet_distance(b, a).value == pytest.approx(frechet_distance(a, b).value)


@pytest.mark.parametrize(("count", "flag"), [(6, "rank-deficient: 6 samples for 6 dimensions"), (7, "")])
def test_a_sample_with_no_more_images_than_dimensions_is_flagged(count, flag):
    """On either side."""
    assert frechet_distance(sample(count), sample(50, seed=1)).flag == flag
    assert frechet_distance(sample(50, seed=1), sample(count)).flag == flag


def test_a_rank_deficient_distance_still_is_that_of_its_formula():
    a, b = sample(4), sample(5, seed=1)
    expected = frechet_by_roots(a.double().numpy(), b.double().numpy())
    assert frechet_distance(a, b).value == pytest.approx(expected, rel=1e-4)


def test_the_kernel_distance_of_whole_samples_is_that_of_its_formula():
    a, b = sample(12), sample(12, seed=1, shift=0.5)
    found = kernel_distance(a, b, subsets=100, subset_size=1000, seed=0)
    assert found.value == pytest.approx(mmd_by_pairs(a.double().numpy(), b.double().numpy()), rel=1e-10)
    assert (found.subset_size, found.subsets, found.std) == (12, 1, 0)
    assert found.flag == "one subset: it holds every sample"


def test_the_kernel_distance_over_all_subsets_tends_to_that_of_whole_samples():
    """It is unbiased, so that a mean over many subsets estimates the same number."""
    a, b = sample(9), sample(8, seed=1, shift=0.5)
    found = kernel_distance(a, b, subsets=4000, subset_size=4, seed=0)
    expected = mmd_by_pairs(a.double().numpy(), b.double().numpy())
    assert abs(found.value - expected) < 4 * found.std / math.sqrt(4000)
    assert (found.subset_size, found.subsets, found.flag) == (4, 4000, "")
    assert found.std > 0


@pytest.mark.parametrize(("asked", "taken"), [(5, 5), (7, 7), (8, 7), (100, 7)])
def test_a_subset_holds_at_most_the_samples_there_are(asked, taken):
    assert kernel_distance(sample(7), sample(20, seed=1), 10, asked, 0).subset_size == taken
    assert kernel_distance(sample(20, seed=1), sample(7), 10, asked, 0).subset_size == taken


def test_the_kernel_distance_is_drawn_by_its_seed_alone():
    a, b = sample(20), sample(20, seed=1)
    found = kernel_distance(a, b, 5, 6, seed=0)
    np.random.seed(7)  # a state that must not matter
    torch.manual_seed(7)
    assert kernel_distance(a, b, 5, 6, seed=0) == found
    assert kernel_distance(a, b, 5, 6, seed=1) != found


def test_more_different_samples_are_further_apart():
    a = sample(60)
    near, far = sample(60, seed=0, shift=0.1), sample(60, seed=0, shift=1.0)
    assert frechet_distance(a, near).value < frechet_distance(a, far).value
    assert kernel_distance(a, near, 20, 30, 0).value < kernel_distance(a, far, 20, 30, 0).value


@pytest.mark.parametrize(
    ("features", "reference", "message"),
    [
        (sample(1), sample(9), "too few; give 2 samples or more"),
        (sample(9), sample(0), "too few; give 2 samples or more"),
        (sample(9), sample(9, 5), "take both from one network"),
        (sample(9)[0], sample(9), "take both from one network"),
        (sample(9) / 0, sample(9), "not finite"),
    ],
)
def test_what_has_no_distance_is_an_error_with_its_remedy(features, reference, message):
    for measure in (frechet_distance, lambda a, b: kernel_distance(a, b, 5, 5, 0)):
        with pytest.raises(ValueError, match=message):
            measure(features, reference)


def test_a_subset_of_one_sample_is_an_error():
    with pytest.raises(ValueError, match="set subset_size to 2 or more"):
        kernel_distance(sample(9), sample(9), 5, 1, 0)


def test_only_distances_of_inceptions_features_are_called_fid_and_kid():
    names = {
        net: [label(net, kind, patches) for patches in (False, True) for kind in ("fd", "kd")]
        for net in ("inception_fidelity", "inception_torchvision", "efficientnet_lite0")
    }
    assert names["inception_fidelity"] == ["FID", "KID", "pFID", "pKID"]
    assert names["inception_torchvision"] == [f"{name} (torchvision)" for name in names["inception_fidelity"]]
    assert names["efficientnet_lite0"] == ["FD-EffLite0", "KD-EffLite0", "pFD-EffLite0", "pKD-EffLite0"]
    with pytest.raises(ValueError, match="choose one of"):
        label("resnet", "fd", False)
