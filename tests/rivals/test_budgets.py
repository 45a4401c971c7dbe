"""Learning rates are searched on held-out crops; a budget is as many steps, or as much time."""

import pytest
from jobs import cache_of, params_of

from fsr.config import Rivals
from fsr.config.rows import rival_rows, trained_methods, trained_rows
from fsr.files import read_json, write_json
from fsr.rivals import load_rival
from fsr.rivals.training import changed, search_rate, steps_of, time_steps, train_rival, trainer_of
from fsr.train import RunFiles, Trainer


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return cache_of(params_of(), tmp_path_factory.mktemp("cache"))


def files_in(folder) -> RunFiles:
    return RunFiles(folder / "model", folder / "log.csv", folder / "grid.png", folder / "runtime.json")


@pytest.mark.parametrize("method", ["fsr", "lua"])
def test_the_rate_that_validates_best_is_chosen(manifest, autoencoder, tmp_path, monkeypatch, method):
    psnr = {1e-3: 20.0, 2e-3: 19.0}

    def run(trainer, until):
        trainer.log.write_row(until, {"validation_psnr": psnr[trainer.train.lr]})

    monkeypatch.setattr(Trainer, "run", run)
    search_rate(params_of(), method, "f3", manifest, autoencoder, tmp_path / "s.json", 1, tmp_path)
    found = read_json(tmp_path / "s.json")
    assert (found["method"], found["best"], found["steps"]) == (method, 1e-3, 3)
    assert [(run["lr"], run["validation_psnr"]) for run in found["runs"]] == list(psnr.items())


def test_a_rate_that_diverges_is_recorded_and_not_chosen(manifest, autoencoder, tmp_path, monkeypatch):
    def run(trainer, until):
        if trainer.train.lr > failing_above:
            raise FloatingPointError("not finite")
        trainer.log.write_row(until, {"validation_psnr": 20.0})

    monkeypatch.setattr(Trainer, "run", run)
    failing_above = 1.5e-3
    search_rate(params_of(), "lua", "f3", manifest, autoencoder, tmp_path / "s.json", 1, tmp_path)
    found = read_json(tmp_path / "s.json")
    assert found["best"] == 1e-3
    assert found["runs"][1] == {"lr": 2e-3, "validation_psnr": None, "reason": "not finite"}
    failing_above = 0
    with pytest.raises(FloatingPointError, match=r"lua trains at none of rivals.learning_rates; add smaller ones"):
        search_rate(params_of(), "lua", "f3", manifest, autoencoder, tmp_path / "s.json", 1, tmp_path)


def test_a_rate_whose_steps_are_skipped_is_not_chosen(manifest, autoencoder, tmp_path):
    """Fewer steps than end a run are not finite, and nothing is learned."""
    params = params_of(max_skipped=100)
    rates = params.rivals.model_copy(update={"learning_rates": [1e30, 1e-3]})
    params = params.model_copy(update={"rivals": rates})
    for method in ("lua", "fsr"):
        search_rate(params, method, "f3", manifest, autoencoder, tmp_path / "s.json", 1, tmp_path)
        found = read_json(tmp_path / "s.json")
        assert found["best"] == 1e-3
        assert found["runs"][0] == {"lr": 1e30, "validation_psnr": None, "reason": "validation is not finite"}


def test_the_rate_warms_up_over_its_share_of_the_steps():
    params = params_of(steps=100, warmup_steps=10)
    assert changed(params, steps=30).train.warmup_steps == 3
    assert changed(params, steps=100, lr=0.5).train.warmup_steps == 10


def test_a_budget_of_time_is_turned_into_steps_by_what_a_step_takes(tmp_path):
    costs = write_json(tmp_path / "costs.json", {"fsr": 3.0, "lua": 1000.0, "lsrna": 2.0})
    params = params_of()
    rows = params.benchmark.model_copy(update={"upscalers": ["lua_steps", "lsrna_time_matched"]})
    params = params.model_copy(update={"benchmark": rows})
    assert steps_of(params, "lua_steps", 6) == 6
    assert steps_of(params, "lsrna_time", 6, costs) == 9
    with pytest.raises(ValueError, match="'hat_steps' is no row of benchmark.upscalers that is trained; choose one of"):
        steps_of(params, "hat_steps", 6)


def test_every_method_that_is_trained_is_timed(manifest, autoencoder, tmp_path):
    time_steps(params_of(), "f3", manifest, autoencoder, tmp_path / "costs.json", 1)
    costs = read_json(tmp_path / "costs.json")
    assert set(costs) == {"fsr", *trained_methods(params_of())}
    assert all(seconds > 0 for seconds in costs.values())


def test_a_rival_is_trained_at_its_rate_and_can_be_loaded(manifest, autoencoder, tmp_path):
    search, params = write_json(tmp_path / "s.json", {"best": 0.002}), params_of(hours=1e-9, lr=0.5)
    train_rival(params, "lua_steps", 4, "f4", search, manifest, autoencoder, files_in(tmp_path), 1, tmp_path / "work")
    cost = read_json(tmp_path / "runtime.json")
    assert (cost["steps"], cost["crops"]) == (4, 8), "the budget of hours is the field's alone"
    network = load_rival(tmp_path / "model", autoencoder)
    assert sum(parameter.numel() for parameter in network.parameters()) == cost["parameters"]
    assert max(float(row.split(",")[1]) for row in (tmp_path / "log.csv").read_text().splitlines()[1:]) <= 0.002


def test_only_what_the_rows_need_is_trained():
    params = params_of()

    def trained(*rows: str) -> list[str]:
        measured = params.benchmark.model_copy(update={"upscalers": ["bicubic", *rows]})
        return [row.model for row in trained_rows(params.model_copy(update={"benchmark": measured}))]

    assert trained() == []
    assert trained("lsrna_time_matched", "lsrna_time", "lua_steps") == ["lsrna_time", "lua_steps"]
    assert trained("fsr_ensemble", "lua_time_ensemble") == ["lua_time"]
    assert set(rival_rows(params.rivals)) >= {"lsrna_steps_noised", "lua_time"}


def test_fields_that_differ_in_size_or_weights_have_runs_of_their_own(manifest, autoencoder, tmp_path):
    """Or one would go on from another's checkpoint."""
    field = {"kind": "fsr", "cut": "f3", "group": ""}
    methods = {
        "plain": field | {"field": {}, "losses": {}},
        "wide": field | {"field": {"hidden": 16}, "losses": {}},
        "pixels": field | {"field": {}, "losses": {"one_step": 0.0}},
    }
    params = params_of()
    rivals = Rivals.model_validate(params.rivals.model_dump() | {"methods": methods})
    params = params.model_copy(update={"rivals": rivals})
    runs = [trainer_of(params, name, "f4", manifest, autoencoder, tmp_path) for name in (*methods, "fsr")]
    assert len({run.folder for run in runs}) == 4
    assert [run.model.config.cut for run in runs] == ["f3", "f3", "f3", "f4"]
    assert runs[1].model.config.hidden == 16
