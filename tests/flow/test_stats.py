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


def test_moments_averaged_over_processes_are_those_of_the_whole():
    """Two processes hold a half each; `average` is what all-reduce does."""
    whole = pairs(1)[0]
    halves = [FeaturePair(whole.f_B[i : i + 1], whole.f_H[i : i + 1] + 5 * i) for i in range(2)]
    moments = []

    def recorded(values: torch.Tensor) -> torch.Tensor:
        moments.append(values)
        return values

    for half in halves:
        batch_statistics(half, recorded)
    whole = FeaturePair(*(torch.cat([getattr(half, name) for half in halves]) for name in ("f_B", "f_H")))
    expected = batch_statistics(whole)
    for half in halves:
        found = batch_statistics(half, lambda values: torch.stack(moments).mean(dim=0))
        assert torch.allclose(found.mean, expected.mean, rtol=0, atol=1e-6)
        assert torch.allclose(found.std, expected.std, rtol=0, atol=1e-6)
        assert not torch.allclose(batch_statistics(half).mean, expected.mean, atol=1e-2)
    start = batch_statistics(pairs(2)[1])
    moved = running_statistics(start, halves[0], lambda values: torch.stack(moments).mean(dim=0))
    assert torch.allclose(moved.std, 0.99 * start.std + 0.01 * expected.std)


def test_no_batches_are_refused():
    with pytest.raises(ValueError, match="at least one crop"):
        cache_statistics([])
