"""The benchmark of training runs and compares like with like; how fast anything is, it does not test."""

import argparse
import importlib.util
import re
from dataclasses import replace

import pytest
import torch

from fsr.flow.field import VectorField

FIXED = ("fft", "rgb", "low_frequency", "high_frequency")  # terms that do not depend on an untrained field


@pytest.fixture
def training(root, monkeypatch):
    """The benchmark as a module, with few and small steps."""
    spec = importlib.util.spec_from_file_location("benchmark_of_training", root / "benchmarks/training.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    small = {"hidden": 16, "blocks": 1}
    monkeypatch.setattr(module, "PROTOTYPE_FIELD", module.PROTOTYPE_FIELD.model_copy(update=small))
    monkeypatch.setattr(module, "STEP_CROPS", 2)
    monkeypatch.setattr(module, "CACHED_CROPS", 4)
    monkeypatch.delenv("FSR_MIRROR", raising=False)
    return module


@pytest.fixture
def arguments():
    return argparse.Namespace(
        vae="embedded", cut="f2", crop=48, rounds=1, wait_steps=1, clock="wall", threads=1, dtype="float32"
    )


@pytest.fixture
def study(training, arguments, tmp_path):
    return training.prepare(training.read_params(arguments), arguments.cut, tmp_path)


def test_it_prints_ratios_for_every_way(training, arguments, capsys):
    training.main(arguments)
    printed = capsys.readouterr().out
    rows = [line.split("|")[1:-1] for line in printed.splitlines() if line.startswith("|")][2:]
    assert len(rows) == len(training.ladder(training.read_params(arguments)))
    assert rows[0][2].strip() == "1.00 (1.00-1.00)"
    for _, seconds, *ratios in rows:
        assert float(seconds) > 0
        for ratio in ratios:
            middle, least, most = map(float, re.fullmatch(r" (.+) \((.+)-(.+)\) ", ratio).groups())
            assert 0 < least <= middle <= most
    assert re.search(r"share of our step: .+% \(0 workers\), .+% \(1 workers\)", printed)


def test_the_last_way_is_the_configured_one(training, study):
    params = study.params.model_copy(update={"train": study.params.train.model_copy(update={"batch": 2})})
    ways = training.ladder(params)
    ours = training.params_of(params, ways[-1]).train
    same = {"batch", "accumulation", "workers"}
    assert ours.model_dump(exclude=same) == params.train.model_dump(exclude=same)
    assert ours.batch * ours.accumulation == training.STEP_CROPS
    assert (ways[-1].cached, ways[-1].one_pass, ways[-1].layouts, ways[-1].batch) == (True, True, True, 2)


def test_all_ways_have_the_same_objective(training, study):
    """The first step's terms, of an untrained field, are those of the same crops whichever way they are computed."""
    rows = [timed.step() for timed in (training.Timed(way, study, float) for way in training.ladder(study.params))]
    for row in rows[1:]:
        assert row.keys() == rows[0].keys()
        assert [row[name] for name in FIXED] == pytest.approx([rows[0][name] for name in FIXED], rel=2e-3)


def test_two_passes_of_a_field_are_one(training):
    torch.manual_seed(0)
    field = VectorField(4, "f3", [2], "none", hidden=16, blocks=2, block="residual", patch=2, gate="channel")
    for parameter in field.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    f, t, f_B = torch.randn(6, 4, 8, 8), torch.rand(6), torch.randn(3, 4, 8, 8)
    together, apart = field(f, t, f_B, 2), training.TwoPasses(field)(f, t, f_B, 2)
    assert together.velocity.std() > 0.01
    assert torch.allclose(together.velocity, apart.velocity, atol=1e-5)
    assert torch.allclose(together.gate, apart.gate, atol=1e-5)


def test_a_change_that_changes_nothing_is_no_rung(training, study):
    train = study.params.train.model_copy(update={"statistics": "running"})
    ways = training.ladder(study.params.model_copy(update={"train": train}))
    assert "statistics from the cache" not in [way.what for way in ways]
    assert len({replace(way, what="") for way in ways}) == len(ways)
