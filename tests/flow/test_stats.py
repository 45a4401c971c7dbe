import pytest
import torch

from fsr.flow.path import FeaturePair
from fsr.flow.stats import batch_statistics, cache_statistics, running_statistics


def pairs(count: int) -> list[FeaturePair]:
    source = torch.Generator().manual_seed(0)
    return [FeaturePair(*(3 + 2 * torch.randn(2, 2, 5, 3, 4, generator=source))) for _ in range(count)]


def test_cache_statistics_are_those_of_all_values_at_once():
    values = torch.cat([torch.cat([pair.f_B, pair.f_H]) for pair in pairs(4)])
    found = cache_statistics(iter(pairs(4)))
    assert torch.allclose(found.mean, values.mean(dim=(0, 2, 3)), atol=1e-5)
    assert torch.allclose(found.std, values.std(dim=(0, 2, 3), correction=0), atol=1e-5)


def test_they_survive_a_large_mean():
    shifted = [FeaturePair(pair.f_B + 1e4, pair.f_H + 1e4) for pair in pairs(2)]
    assert torch.allclose(cache_statistics(shifted).std, cache_statistics(pairs(2)).std, rtol=1e-3)


def test_running_statistics_start_with_the_first_batch_and_then_weigh_one_percent():
    first, second = pairs(2)
    start = running_statistics(None, first)
    assert torch.equal(start.mean, batch_statistics(first).mean)
    moved = running_statistics(start, second)
    assert torch.allclose(moved.mean, 0.99 * start.mean + 0.01 * batch_statistics(second).mean)


def test_no_batches_are_refused():
    with pytest.raises(ValueError, match="at least one crop"):
        cache_statistics([])
