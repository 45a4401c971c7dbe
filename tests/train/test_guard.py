"""Steps that are not finite change nothing, are counted, and end a run when too many come in a row."""

import json

import pytest
import torch
from jobs import cache_of, job_of, params_of
from safetensors import safe_open

from fsr.latents import LatentCache
from fsr.train import field_trainer, train_field
from fsr.train.data import crop_of
from fsr.train.loss import StepLoss


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return cache_of(params_of(), tmp_path_factory.mktemp("cache"))


@pytest.fixture
def trainer(manifest, autoencoder, tmp_path):
    return lambda params: field_trainer(params, "f3", manifest, autoencoder, tmp_path / "work")


@pytest.fixture
def poison(monkeypatch):
    """`poison(1, 2)`: the features of steps 1 and 2 are not finite."""

    def at(*steps):
        terms, features = StepLoss.terms, StepLoss.features
        now = []

        def watched(self, batch, draws, step, *rest, **named):
            now[:] = [step]
            return terms(self, batch, draws, step, *rest, **named)

        def poisoned(self, batch):
            pair = features(self, batch)
            if now and now[0] in steps:
                pair.f_H[-1, 0, 0, 0] = float("nan")
            return pair

        monkeypatch.setattr(StepLoss, "terms", watched)
        monkeypatch.setattr(StepLoss, "features", poisoned)

    return at


def state(trainer) -> list[torch.Tensor]:
    """Everything a step may change."""
    optimizer = trainer.optimizer.optimizer.state_dict()["state"].values()
    moments = [value for values in optimizer for value in values.values()]
    tensors = [*trainer.model.state_dict().values(), *trainer.ema.shadow_params, *moments]
    return [tensor.clone() for tensor in tensors]


def equal(a, b):
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("statistics", ["cache", "running"])
def test_a_skipped_step_changes_no_weight_average_moment_or_statistic(trainer, poison, statistics):
    poison(1)
    run = trainer(params_of(statistics=statistics))
    feed, rows, states = run.feed(), [], []
    for run.step in range(3):
        rows.append(run.optimise(feed))
        states.append(state(run))
    assert [row["skipped"] for row in rows] == [0, 1, 1]
    assert [row["loss"] == row["loss"] for row in rows] == [True, False, True]
    assert equal(states[0], states[1])
    assert not equal(states[1], states[2])
    assert run.ema.optimization_step == 2


def test_the_first_step_that_is_finite_initialises_running_statistics(trainer, poison):
    poison(0)
    run = trainer(params_of(statistics="running"))
    feed = run.feed()
    run.optimise(feed)
    assert run.model.feature_std.eq(1).all(), "as the field was made"
    run.step = 1
    batch = run._whole_step().__next__()[1]
    run.optimise(feed)
    pair = run.recipe.loss.features(batch)
    expected = torch.cat([pair.f_B, pair.f_H]).mean(dim=(0, 2, 3))
    assert torch.allclose(run.model.feature_mean, expected, atol=1e-5)


def test_too_many_in_a_row_end_the_run_and_leave_their_crops(manifest, autoencoder, tmp_path, poison):
    poison(1, 4, 5)
    params = params_of(max_skipped=2, accumulation=2, steps=6, checkpoint_every=10)
    with pytest.raises(FloatingPointError, match=r"2 steps in a row, the last of them step 5; .* lower train\.lr"):
        train_field(job_of(params, manifest, tmp_path), autoencoder)
    (path,) = tmp_path.rglob("nonfinite-000005.safetensors")
    samples = [[20, 21], [22, 23]]
    cache = LatentCache(manifest)
    with safe_open(path, framework="pt") as file:
        passes = json.loads(file.metadata()["passes"])
        assert [which["samples"] for which in passes] == samples
        assert [which["scale"] for which in passes] == [4, 4]
        for index, which in enumerate(passes):
            assert which["crops"] == [crop_of(sample, len(cache), params.seed) for sample in samples[index]]
            batch = cache.batch(which["crops"], which["scale"])
            for name in ("z_H", "z_L", "crop", "x_H_rec", "x_L_rec"):
                assert torch.equal(file.get_tensor(f"{index}.{name}"), getattr(batch, name))


def test_a_resumed_run_keeps_its_count(trainer, poison):
    poison(1, 2, 3)
    params = params_of(max_skipped=3, steps=6, checkpoint_every=1, validate_every=6)
    trainer(params).run(3)
    resumed = trainer(params)
    assert (resumed.guard.total, resumed.guard.in_a_row) == (2, 2)
    with pytest.raises(FloatingPointError, match="3 steps in a row, the last of them step 3"):
        resumed.run(6)
