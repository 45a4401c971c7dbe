"""The benchmark of inference compares like with like; how fast anything is, it does not test."""

import importlib.util
import re

import pytest
import torch
from tiny_models import tiny_model

SIDE = 16


@pytest.fixture(scope="module")
def inference(root):
    spec = importlib.util.spec_from_file_location("benchmark_of_inference", root / "benchmarks/inference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def parts(inference, params):
    """Everything small: the tiny study's rivals and field, a tiny autoencoder."""
    methods = params.rivals.methods
    small = {kind: next(method for method in methods.values() if method.kind == kind) for kind in ("lua", "lsrna")}
    return inference.build(params, small, "f3", SIDE, torch.float32, tiny_model())


@torch.inference_mode()
def test_every_row_makes_an_image_of_the_size_alike_in_both_ways(inference, parts):
    for name, row in inference.ROWS.items():
        images = [row(parts, parts.z_L, tiling) for tiling in inference.WAYS.values()]
        assert images[0].shape == (1, 3, 2 * SIDE, 2 * SIDE), name
        assert images[0].std() > 0.01
        assert (images[0] - images[1]).abs().max() < 1e-4, name


def test_stages_together_are_the_row(inference, parts):
    """Head, enlargement with field, and tail in strips, one after the other, render what FSR does."""
    renderer = parts.renderer("default")
    apart = renderer.tail(renderer.carry(renderer.head(parts.z_L), inference.SCALE))
    assert (apart - renderer.upscale(parts.z_L, inference.SCALE)).abs().max() < 1e-5


@torch.inference_mode()
def test_both_ways_time_the_same_stages(inference, parts):
    modules, strips = (inference.stages(parts, way) for way in ("modules", "strips"))
    assert set(modules) - set(strips) == {"LUA's network"}
    for name, call in strips.items():
        assert (call() - modules[name]()).abs().max() < 1e-4, name


def test_it_prints_rows_and_stages_with_ratios(inference, parts):
    made = inference.measure(parts, 2, iter(range(10**6)).__next__, torch.float32)
    assert {len(seconds) for table in (made.rows, made.stages) for seconds in table.values()} == {2}
    rows = [line.split(" | ") for line in inference.rows_table(made, {}).splitlines()[2:]]
    assert len(rows) == 2 * len(inference.ROWS)
    for row in rows:
        assert row[3] == row[4] == "1.00 (1.00-1.00)"  # the clock ticks once in every call
    for line in inference.stages_table(made).splitlines()[2:]:
        assert re.search(r"\| 0\.33 \(0\.33-0\.33\) \|", line)  # of encoder, head and tail
    assert "at 33.3% of the frozen parts' time" in inference.predicted(made)
    assert f"{213 * 4 / 3 / 421:.2f} of LUA's time" in inference.predicted(made)


def test_an_image_pays_for_its_encoding_once_in_a_ratio(inference):
    made = inference.Measured(rows={("LUA", "modules"): [3.0], ("FSR", "modules"): [1.0]})
    made.stages["encode", "modules"] = [1.0]
    line = inference.rows_table(made, {("FSR", "modules"): 3 * 2**20}).splitlines()[3]
    assert line == "| FSR | modules | 1.00 | 0.33 (0.33-0.33) | 0.50 (0.50-0.50) | 3 |"


def test_the_peak_of_a_row_is_of_that_row(inference, parts):
    """Peaks of before are forgotten: a large tensor that is gone is no part of it."""
    del (large := [torch.ones(64 * 2**20)])[0]
    assert not large
    own = sum(parameter.nbytes for parameter in parts.lua.parameters())
    assert own <= inference.peak_of(parts, "LUA", "strips") < own + 64 * 2**20
    assert set(inference.NETWORKS) == set(inference.ROWS)
