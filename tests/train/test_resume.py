"""An interrupted run ends as the uninterrupted one does, to the byte."""

import csv
import itertools
from dataclasses import replace

import pytest
from jobs import cache_of, job_of, params_of, results

import fsr.train.schedule
from fsr.files import read_json
from fsr.train import Trainer, train_field
from fsr.train.loss import StepLoss
from fsr.train.validation import Validator

SHORT = {"steps": 4, "validate_every": 3, "checkpoint_every": 2}
CHANGES = {
    "plain": {},
    "running statistics": {"statistics": "running", "scales": (2,)},
    "accumulation": {"accumulation": 2, "pixel_loss_every": 2},
    "workers": {"workers": 1},
    "recomputation": {"checkpoint_tail": True, "checkpoint_field": True, "scales": (4,)},
}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return cache_of(params_of(), tmp_path_factory.mktemp("cache"))


@pytest.fixture
def interrupted(monkeypatch):
    """`interrupted(job, autoencoder, n)` runs a job that is stopped before its n-th step."""

    def run(job, autoencoder, at):
        optimise, calls = Trainer.optimise, itertools.count(1)

        def stopped(self, feed):
            if next(calls) == at:
                raise KeyboardInterrupt
            return optimise(self, feed)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Trainer, "optimise", stopped)
            train_field(job, autoencoder)

    return run


@pytest.fixture
def first_steps(monkeypatch):
    """The steps at which runs begin or go on."""
    seen, feed = [], Trainer.feed

    def watched(self):
        seen.append(self.step)
        return feed(self)

    monkeypatch.setattr(Trainer, "feed", watched)
    return seen


def rows(folder):
    return list(csv.DictReader((folder / "log.csv").open()))


def both_ways(params, manifest, autoencoder, folder, interrupted, at=4):
    """Results of a job, uninterrupted and interrupted."""
    whole, stopped = (job_of(params, manifest, folder / name) for name in ("whole", "stopped"))
    train_field(whole, autoencoder)
    interrupted(stopped, autoencoder, at)
    train_field(stopped, autoencoder)
    return results(folder / "whole"), results(folder / "stopped")


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_it_ends_with_the_same_bytes(manifest, autoencoder, tmp_path, interrupted, first_steps, change):
    whole, stopped = both_ways(params_of(**SHORT, **change), manifest, autoencoder, tmp_path, interrupted)
    assert whole == stopped
    assert first_steps == [0, 0, 2], "it went on from the checkpoint"


def test_so_does_one_on_windows_of_its_crops(autoencoder, tmp_path, interrupted):
    params = params_of(**SHORT, crop_size=128, feature_tile=64, scales=(2,))
    manifest = cache_of(params, tmp_path, sizes=((160, 320),))
    whole, stopped = both_ways(params, manifest, autoencoder, tmp_path, interrupted)
    assert whole == stopped


def test_so_does_one_whose_average_teaches_it(manifest, autoencoder, tmp_path, interrupted, monkeypatch):
    measure = Validator.measure
    monkeypatch.setattr(Validator, "measure", lambda self, field: replace(measure(self, field), margin=1.0))
    params = params_of(**SHORT | {"validate_every": 1}, scales=(2,), consistency={"weight": 1.0, "margin": 0.05})
    whole, stopped = both_ways(params, manifest, autoencoder, tmp_path, interrupted)
    assert whole == stopped
    assert [bool(row["consistency"]) for row in rows(tmp_path / "whole")] == [False, True, True, True]


def test_so_does_one_that_has_skipped_a_step(manifest, autoencoder, tmp_path, interrupted, monkeypatch):
    terms = StepLoss.terms

    def poisoned(self, batch, draws, step, *rest, **named):
        return {
            name: value * (float("nan") if step == 1 else 1.0)
            for name, value in terms(self, batch, draws, step, *rest, **named).items()
        }

    monkeypatch.setattr(StepLoss, "terms", poisoned)
    whole, stopped = both_ways(params_of(**SHORT), manifest, autoencoder, tmp_path, interrupted)
    assert whole == stopped
    assert [float(row["skipped"]) for row in rows(tmp_path / "stopped")] == [1, 1]


def test_so_does_one_with_a_budget_of_hours_which_counts_what_went_before(
    manifest, autoencoder, tmp_path, interrupted, monkeypatch
):
    """Each step takes ten minutes of a false clock: an hour is six steps, three of them before the interruption."""
    now, optimise = [0.0], Trainer.optimise

    def slow(self, feed):
        now[0] += 600
        return optimise(self, feed)

    clock = type("FalseTime", (), {"monotonic": staticmethod(lambda: now[0])})
    monkeypatch.setattr(fsr.train.schedule, "time", clock)
    monkeypatch.setattr(Trainer, "optimise", slow)
    params = params_of(hours=1, steps=40)
    whole, stopped = both_ways(params, manifest, autoencoder, tmp_path, interrupted)
    assert whole == stopped
    assert read_json(tmp_path / "stopped/runtime.json")["steps"] == 6


def test_so_does_a_trial_of_two_cuts(manifest, autoencoder, tmp_path, interrupted, first_steps):
    """Stopped in each of the trials, and then where the winner has left its trial behind."""
    jobs = {
        name: job_of(params_of(**SHORT | {"checkpoint_every": 1}), manifest, tmp_path / name, ["f3", "f4"])
        for name in ("whole", "stopped")
    }
    train_field(jobs["whole"], autoencoder)
    assert first_steps == [0, 0, 2]
    for at in (2, 3, 3):
        interrupted(jobs["stopped"], autoencoder, at)
    train_field(jobs["stopped"], autoencoder)
    assert first_steps[3:] == [0, 1, 0, 1, 2, 3]
    assert results(tmp_path / "whole") == results(tmp_path / "stopped")


def test_the_winner_of_a_trial_is_what_it_would_be_alone(manifest, autoencoder, tmp_path):
    train_field(job_of(params_of(**SHORT), manifest, tmp_path / "tried", ["f3", "f4"]), autoencoder)
    decision = read_json(tmp_path / "tried/cut.json")
    scores = {trial["cut"]: trial["validation_rgb_l1"] for trial in decision["trials"]}
    assert decision["decided_by"] == "trial"
    assert decision["cut"] == min(scores, key=scores.get)
    train_field(job_of(params_of(**SHORT), manifest, tmp_path / "alone", [decision["cut"]]), autoencoder)
    assert read_json(tmp_path / "alone/cut.json") == {"cut": decision["cut"], "decided_by": "probe", "trials": []}
    tried, alone = (results(tmp_path / name) | {"cut.json": b""} for name in ("tried", "alone"))
    assert tried == alone


def test_a_finished_run_is_not_trained_again(manifest, autoencoder, tmp_path, first_steps):
    job = job_of(params_of(**SHORT), manifest, tmp_path)
    train_field(job, autoencoder)
    finished = results(tmp_path)
    train_field(job, autoencoder)
    assert results(tmp_path) == finished
    assert first_steps == [0]
