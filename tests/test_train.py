import csv

import pytest
import torch
from test_latents import build, photos  # noqa: F401 - a fixture

from fsr.config import Params
from fsr.flow.field import load_field
from fsr.images import read_image
from fsr.sections import validated
from fsr.train import Trainer, TrainFiles, learning_rate_factor, run_key, train_field


@pytest.fixture
def manifest(params, photos, autoencoder, tmp_path):  # noqa: F811
    return build(params, photos, autoencoder, tmp_path / "cache/manifest.json")


def changed(values, **train) -> Params:
    values["train"] |= train
    return validated(Params, values, "test")


def files(folder) -> TrainFiles:
    return TrainFiles(
        folder / "model", folder / "log.csv", folder / "grid.png", folder / "runtime.json", folder / "work"
    )


def weights(folder) -> bytes:
    return (folder / "model/diffusion_pytorch_model.safetensors").read_bytes()


def test_a_run_leaves_a_field_a_log_and_a_grid(values, manifest, autoencoder, tmp_path):
    train_field(changed(values), "f3", manifest, autoencoder, files(tmp_path), 1)
    field = load_field(tmp_path / "model", autoencoder)
    assert (field.config.cut, field.config.scale) == ("f3", 2)
    assert field.out_velocity.weight.abs().max() > 0, "it has learned something"
    rows = list(csv.DictReader((tmp_path / "log.csv").open()))
    assert [row["step"] for row in rows] == ["3", "6"]
    terms = set(values["train"]["losses"])
    assert terms <= set(rows[0])
    assert read_image(tmp_path / "grid.png").shape == (1, 3, 2 * 48, 4 * 48)


@pytest.mark.parametrize("change", [{}, {"statistics": "running"}, {"accumulation": 2}])
def test_an_interrupted_run_ends_with_the_same_bytes(values, manifest, autoencoder, tmp_path, monkeypatch, change):
    params = changed(values, **change)
    train_field(params, "f3", manifest, autoencoder, files(tmp_path / "whole"), 1)
    optimise, calls = Trainer._optimise, []

    def killed(self):
        calls.append(self.step)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return optimise(self)

    monkeypatch.setattr(Trainer, "_optimise", killed)
    with pytest.raises(KeyboardInterrupt):
        train_field(params, "f3", manifest, autoencoder, files(tmp_path / "stopped"), 1)
    train_field(params, "f3", manifest, autoencoder, files(tmp_path / "stopped"), 1)
    assert calls[5] == 3, "it went on from the checkpoint"
    assert weights(tmp_path / "whole") == weights(tmp_path / "stopped")
    assert (tmp_path / "whole/log.csv").read_bytes() == (tmp_path / "stopped/log.csv").read_bytes()


def test_learning_lowers_the_loss(values, manifest, autoencoder, tmp_path):
    """On a single crop, the one-step feature must come far closer to f_H than feature bicubic is."""
    params = changed(
        values, steps=60, batch=1, lr=0.01, losses=dict.fromkeys(values["train"]["losses"], 0.0) | {"one_step": 1.0}
    )
    trainer = Trainer(params, "f3", manifest, autoencoder, 1)
    trainer.cache.__class__ = type("One", (type(trainer.cache),), {"__len__": lambda _: 1})
    first = trainer._optimise()["one_step"]
    for trainer.step in range(1, 60):
        last = trainer._optimise()["one_step"]
    assert last < 0.6 * first


def test_only_terms_with_a_weight_are_computed(values, manifest, autoencoder):
    zero = dict.fromkeys(values["train"]["losses"], 0.0)
    trainer = Trainer(changed(values, losses=zero | {"one_step": 1.0}), "f3", manifest, autoencoder, 1)
    assert not {"flow", "endpoint", "fft", "rgb"} & set(trainer._optimise())


def test_pixel_terms_come_every_nth_step(values, manifest, autoencoder):
    trainer = Trainer(changed(values, pixel_loss_every=2), "f3", manifest, autoencoder, 1)
    seen = []
    for trainer.step in range(4):
        seen.append("rgb" in trainer._optimise())
    assert seen == [True, False, True, False]


def test_recomputing_the_tail_changes_no_weight(values, manifest, autoencoder, tmp_path):
    for name, recompute in (("kept", False), ("recomputed", True)):
        params = changed(values, checkpoint_tail=recompute, checkpoint_field=recompute)
        train_field(params, "f3", manifest, autoencoder, files(tmp_path / name), 1)
    assert weights(tmp_path / "kept") == weights(tmp_path / "recomputed")


def test_a_loss_that_is_not_finite_stops_with_a_remedy(values, manifest, autoencoder, tmp_path, monkeypatch):
    monkeypatch.setattr("fsr.flow.objective.one_step_term", lambda a, b: (a - b).sum() * float("nan"))
    with pytest.raises(FloatingPointError, match=r"not finite at step 0; lower train\.lr"):
        train_field(changed(values), "f3", manifest, autoencoder, files(tmp_path), 1)


def test_a_budget_of_hours_ends_a_run_early(values, manifest, autoencoder, tmp_path):
    train_field(changed(values, hours=1e-9), "f3", manifest, autoencoder, files(tmp_path), 1)
    assert load_field(tmp_path / "model", autoencoder).out_velocity.weight.abs().max() == 0


def test_a_run_is_known_by_what_changes_its_weights(values, manifest):
    key = run_key(changed(values), "f3", manifest)
    assert run_key(changed(values, validate_every=1), "f3", manifest) == key
    assert run_key(changed(values), "f4", manifest) != key
    assert run_key(changed(values, lr=0.5), "f3", manifest) != key


def test_the_learning_rate_warms_up_holds_and_falls_to_zero(values):
    params = changed(values, steps=100, warmup_steps=10, decay_from=0.5)
    factors = [learning_rate_factor(step, params) for step in range(101)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[20] == factors[49] == 1.0
    assert factors[75] == pytest.approx(0.5)
    assert factors[100] == 0.0


def test_statistics_of_the_cache_are_those_of_its_features(values, manifest, autoencoder):
    exact = changed(values, statistics_crops=12)
    exact = exact.model_copy(update={"runtime": exact.runtime.model_copy(update={"dtype": "float32"})})
    trainer = Trainer(exact, "f2", manifest, autoencoder, 1)
    batch = trainer.cache.batch(list(range(12)))
    pair = trainer._pair(batch)
    values = torch.cat([pair.f_B, pair.f_H])
    assert torch.allclose(trainer.raw_field.feature_mean, values.mean(dim=(0, 2, 3)), atol=1e-5)
