"""What networks on latents learn from, in which stage, and that the loop trains and resumes them to the bit."""

import pytest
import torch
from jobs import cache_of, params_of

from fsr.latents import LatentCache
from fsr.rivals.losses import LUA_STAGES
from fsr.rivals.recipe import LuaRecipe, build_recipe
from fsr.train import Trainer


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return cache_of(params_of(), tmp_path_factory.mktemp("cache"))


@pytest.fixture
def trainer(manifest, autoencoder, tmp_path):
    """`trainer("lua", steps=6)`: a run of a method of the tiny study."""

    def make(method, folder=tmp_path, **train) -> Trainer:
        params = params_of(**train)
        return Trainer(params, build_recipe(params, method, autoencoder), manifest, folder)

    return make


def optimised(run: Trainer, steps: int) -> list[dict[str, float]]:
    feed, told = run.feed(), []
    for run.step in range(steps):
        told.append(run.optimise(feed))
    return told


def test_lua_has_three_stages_of_a_third_of_the_steps_each(trainer):
    told = optimised(trainer("lua", steps=6), 6)
    others = {"loss", "lr", "grad_norm", "skipped"}
    assert [set(row) - others for row in told] == [set(stage) for stage in LUA_STAGES for _ in range(2)]
    for row, stage in zip(told, (stage for stage in LUA_STAGES for _ in range(2)), strict=True):
        assert row["loss"] == pytest.approx(sum(weight * row[name] for name, weight in stage.items()), rel=1e-5)


@pytest.mark.parametrize("method", ["lua", "lsrna"])
def test_learning_lowers_the_error_of_the_latent(trainer, manifest, method, monkeypatch):
    monkeypatch.setattr(LatentCache, "__len__", lambda cache: 1)
    run = trainer(method, scales=(2,), steps=400, batch=1, lr=0.02, ema_decay=0.5, warmup_steps=0)
    batch = LatentCache(manifest).batch([0], 2)

    def error() -> float:
        with torch.no_grad():
            return (run.recipe.enlarged(run.model.eval(), batch.z_L, 2) - batch.z_H).abs().mean().item()

    before = error()
    optimised(run, 60)
    assert error() < 0.9 * before


@pytest.mark.parametrize("method", ["lua", "lsrna"])
def test_an_interrupted_run_ends_as_one_that_was_not(trainer, tmp_path, method):
    whole = trainer(method, tmp_path / "whole")
    whole.run(6)
    for until in (2, 6):
        parts = trainer(method, tmp_path / "parts", checkpoint_every=1)
        parts.run(until)
    assert parts.log.rows == whole.log.rows
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, parts.model.state_dict()[name]), name


def test_what_is_validated_is_what_the_row_decodes(trainer, manifest, autoencoder):
    run = trainer("lua")
    held_out = LatentCache(manifest, "validation")
    batch = held_out.batch(list(range(len(held_out))), 4)
    with torch.no_grad():
        raw = run.model(autoencoder.raw(batch.z_L), 4)
        image = autoencoder.decode(autoencoder.scaled(raw)).clamp(0, 1)[..., 16:-16, 16:-16]
    errors = (image.double() - batch.x_H_rec[..., 16:-16, 16:-16].clamp(0, 1)).square().mean(dim=(1, 2, 3))
    assert run.validate()["validation_psnr_x4"] == pytest.approx((-10 * errors.log10()).mean().item(), abs=1e-4)


def test_a_run_is_known_by_its_methods_sizes(trainer, manifest, autoencoder, tmp_path):
    params = params_of()
    other_losses = params.train.losses.model_dump() | {"drift": 0.5}
    other = params.rivals.methods["lua"].model_copy(update={"head_width": 8})
    larger = Trainer(params, LuaRecipe(params, "lua", other, autoencoder), manifest, tmp_path)
    assert trainer("lua", losses=other_losses, sigma_max=0.5, statistics="running").key == trainer("lua").key
    keys = {trainer("lua").key, trainer("lsrna").key, trainer("lua", lr=0.5).key, larger.key}
    assert len(keys) == 4
    assert trainer("lua").key in keys


def test_what_is_not_trained_has_no_recipe(autoencoder):
    params = params_of()
    weights = params.rivals.methods["lua"].model_copy(update={"weights": "lua_flux.pth"})
    known = params.rivals.model_copy(update={"methods": {"lua": weights}})
    for name in ("lua", "hat"):
        with pytest.raises(ValueError, match=f"'{name}' is no method of rivals that is trained; choose one"):
            build_recipe(params.model_copy(update={"rivals": known}), name, autoencoder)
