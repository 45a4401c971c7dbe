"""Which crops are seen when."""

import itertools

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fsr.latents import LatentCache
from fsr.train.data import Feed, Passes, crop_of


@given(crops=st.integers(1, 60), turn=st.integers(0, 5), seed=st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_each_crop_comes_exactly_once_a_round(crops, turn, seed):
    order = [crop_of(sample, crops, seed) for sample in range(turn * crops, (turn + 1) * crops)]
    assert sorted(order) == list(range(crops))
    assert order == [crop_of(sample, crops, seed) for sample in range(turn * crops, (turn + 1) * crops)]


def test_rounds_and_seeds_have_orders_of_their_own():
    orders = {
        (turn, seed): tuple(crop_of(turn * 40 + i, 40, seed) for i in range(40))
        for turn in range(3)
        for seed in range(3)
    }
    assert len(set(orders.values())) == 9
    assert tuple(range(40)) not in orders.values()


def passes(params, crops=7, step=0, rank=0, processes=1):
    return list(Passes(params, crops, step, rank, processes))


@pytest.mark.parametrize(("batch", "accumulation", "processes"), [(4, 1, 1), (4, 2, 2), (6, 3, 3), (2, 2, 1)])
def test_samples_are_numbered_over_the_run_and_parted_among_processes(values, changed, batch, accumulation, processes):
    params = changed(values, batch=batch, accumulation=accumulation, processes=processes, steps=5)
    parts = [passes(params, rank=rank, processes=processes) for rank in range(processes)]
    assert [len(part) for part in parts] == [5 * accumulation] * processes
    together = [sum((item.samples for item in one), ()) for one in zip(*parts, strict=True)]
    assert list(itertools.chain(*together)) == list(range(5 * accumulation * batch))
    for item in itertools.chain(*parts):
        assert len(item.samples) == batch // processes
        assert item.crops == tuple(crop_of(sample, 7, params.seed) for sample in item.samples)


@given(step=st.integers(0, 6))
@settings(deadline=None, max_examples=7)
def test_resuming_at_a_step_is_skipping_those_before(resumable, step):
    assert passes(resumable, step=step) == passes(resumable)[2 * step :]


@pytest.fixture(scope="module")
def resumable(root, changed):
    """Six steps of two passes."""
    values = yaml.safe_load((root / "tests/tiny/params.yaml").read_text())
    values["scales"], values["latents"]["crop_size"] = [2, 4], 64
    return changed(values, steps=6, accumulation=2)


def test_a_larger_batch_and_accumulation_see_the_same_samples(values, changed):
    shapes = [(4, 1), (2, 2), (1, 4)]
    runs = [passes(changed(values, batch=batch, accumulation=turns, steps=3)) for batch, turns in shapes]
    crops = [list(itertools.chain(*(item.crops for item in run))) for run in runs]
    assert crops[0] == crops[1] == crops[2]


def test_passes_take_the_scales_in_turns_on_every_process(values, changed):
    values["scales"], values["latents"]["crop_size"] = [2, 4], 64
    params = changed(values, steps=3, batch=2, processes=2)
    for rank in range(2):
        assert [item.scale for item in passes(params, rank=rank, processes=2)] == [2, 4, 2]
    assert [item.scale for item in passes(params, step=1)] == [4, 2], "going on, not beginning again"
    values["scales"] = [4]
    assert {item.scale for item in passes(changed(values))} == {4}


@pytest.mark.parametrize("workers", [0, 1])
def test_the_feed_brings_the_crops_of_its_passes_and_then_ends(values, changed, manifest, workers):
    params, cache = changed(values, steps=3), LatentCache(manifest)
    feed = Feed(cache, Passes(params, len(cache), 1, 0, 1), workers, torch.device("cpu"))
    for item in passes(params, len(cache), step=1):
        which, batch = feed.next()
        assert which == item
        expected = cache.batch(list(item.crops), item.scale)
        assert torch.equal(batch.z_L, expected.z_L)
        assert torch.equal(batch.crop, expected.crop)
        assert batch.scale == item.scale
    assert feed.waited > 0
    with pytest.raises(StopIteration):
        feed.next()
