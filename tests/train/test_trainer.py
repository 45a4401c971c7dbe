"""A run at one cut: what it is known by, what it starts from, that it learns, and what it leaves."""

import csv

import pytest
import torch
from jobs import cache_of, job_of, params_of

from fsr.files import read_json
from fsr.flow.field import load_field
from fsr.images import read_image
from fsr.latents import LatentCache
from fsr.train import field_trainer, learning_rate_factor, run_key, train_field

ONE_STEP = {name: float(name == "one_step") for name in params_of().train.losses.model_dump()}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return cache_of(params_of(), tmp_path_factory.mktemp("cache"))


@pytest.fixture
def trainer(manifest, autoencoder, tmp_path):
    return lambda cut="f3", **changes: field_trainer(params_of(**changes), cut, manifest, autoencoder, tmp_path)


def test_a_job_leaves_a_field_a_log_a_grid_and_what_it_cost(manifest, autoencoder, tmp_path):
    params = params_of()
    train_field(job_of(params, manifest, tmp_path), autoencoder)
    field = load_field(tmp_path / "model", autoencoder)
    assert (field.config.cut, list(field.config.scales)) == ("f3", [2, 4])
    assert field.out_velocity.weight.abs().max() > 0, "it has learned something"
    rows = list(csv.DictReader((tmp_path / "log.csv").open()))
    assert [row["step"] for row in rows] == ["3", "6"]
    assert {*ONE_STEP, "lr", "grad_norm", "skipped", "validation_psnr", "validation_margin"} <= set(rows[0])
    assert read_image(tmp_path / "grid.png").shape == (1, 3, 2 * 64, 4 * 64)
    cost = read_json(tmp_path / "runtime.json")
    assert (cost["steps"], cost["crops"], cost["processes"]) == (6, 12, 1)
    assert 0 <= cost["data_wait_share"] < 1
    assert read_json(tmp_path / "cut.json") == {"cut": "f3", "decided_by": "probe", "trials": []}


def test_several_candidates_without_trials_take_the_first(manifest, autoencoder, tmp_path):
    params = params_of(trial_steps=0, steps=1)
    train_field(job_of(params, manifest, tmp_path, ["f4", "f3"]), autoencoder)
    assert read_json(tmp_path / "cut.json") == {"cut": "f4", "decided_by": "probe", "trials": []}


def test_learning_lowers_the_loss(trainer, monkeypatch):
    """On a single crop, the one-step feature must come far closer to f_H than feature bicubic is."""
    monkeypatch.setattr(LatentCache, "__len__", lambda cache: 1)
    run = trainer(scales=(2,), steps=60, batch=1, lr=0.01, losses=ONE_STEP)
    feed, told = run.feed(), []
    for run.step in range(60):
        told.append(run.optimise(feed)["one_step"])
    assert told[-1] < 0.6 * told[0]


def test_statistics_of_the_cache_are_those_of_its_features_at_every_scale(trainer, manifest):
    run = trainer("f2", statistics_crops=12)
    pairs = [run.recipe.loss.features(LatentCache(manifest).batch(list(range(12)), scale)) for scale in (2, 4)]
    values = torch.cat([features for pair in pairs for features in (pair.f_B, pair.f_H)])
    assert torch.allclose(run.model.feature_mean, values.mean(dim=(0, 2, 3)), atol=1e-5)
    assert torch.allclose(run.model.feature_std, values.std(dim=(0, 2, 3), correction=0), rtol=1e-4)


def test_a_cut_without_its_budget_of_hours_stays_at_feature_bicubic(manifest, autoencoder, tmp_path):
    train_field(job_of(params_of(hours=1e-9), manifest, tmp_path), autoencoder)
    assert load_field(tmp_path / "model", autoencoder).out_velocity.weight.abs().max() == 0
    assert read_json(tmp_path / "runtime.json")["steps"] == 0


def test_recomputing_activations_changes_no_weight(manifest, autoencoder, tmp_path):
    weights = []
    for again in (False, True):
        params = params_of(scales=(2,), steps=2, checkpoint_tail=again, checkpoint_field=again)
        train_field(job_of(params, manifest, tmp_path / str(again)), autoencoder)
        weights.append((tmp_path / str(again) / "model/diffusion_pytorch_model.safetensors").read_bytes())
    assert weights[0] == weights[1]


def test_a_teacher_there_is_only_with_a_weight_and_above_the_margin(trainer):
    assert trainer().recipe.teacher is None
    run = trainer(consistency={"weight": 1.0, "margin": 100.0})
    run.validate()
    assert not run.recipe.teaching
    assert run.recipe._teacher() is None


def test_a_run_is_known_by_what_changes_its_weights():
    key = run_key(params_of(), "f3", "cache", "float32")
    same = {"validate_every": 1, "checkpoint_every": 1, "hours": 1.0, "workers": 1, "processes": 2, "cut": "f5"}
    for name, value in same.items():
        assert run_key(params_of(**{name: value}), "f3", "cache", "float32") == key, name
    others = {"lr": 0.5, "batch": 4, "accumulation": 2, "steps": 7, "statistics": "running", "losses": ONE_STEP}
    keys = {run_key(params_of(**{name: value}), "f3", "cache", "float32") for name, value in others.items()}
    keys |= {run_key(params_of(scales=(2,)), "f3", "cache", "float32"), run_key(params_of(), "f4", "cache", "float32")}
    keys |= {run_key(params_of(), "f3", "other", "float32"), run_key(params_of(), "f3", "cache", "bfloat16")}
    assert len(keys | {key}) == len(others) + 5


def test_another_runs_checkpoint_is_refused(trainer):
    run = trainer(steps=1)
    run.run(1)
    other = trainer(lr=0.5)
    other.folder.mkdir()
    (run.folder / "checkpoint.safetensors").rename(other.folder / "checkpoint.safetensors")
    with pytest.raises(ValueError, match="belongs to another run; delete it"):
        trainer(lr=0.5)


def test_the_learning_rate_warms_up_holds_and_falls_to_zero():
    params = params_of(steps=100, warmup_steps=10, decay_from=0.5)
    factors = [learning_rate_factor(step, params) for step in range(101)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[20] == factors[49] == 1.0
    assert factors[75] == pytest.approx(0.5)
    assert factors[100] == 0.0
