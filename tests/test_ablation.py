import itertools
import json

import numpy as np
import pandas as pd
import pytest
from test_latents import build, photos  # noqa: F401 - a fixture

from fsr.ablation import params_of, tabulate, time_variants, train_variant
from fsr.config import Params
from fsr.sections import validated
from fsr.variants import variants


@pytest.fixture
def grid(values) -> Params:
    """Parameters whose ablation has two of everything."""
    values["ablation"] = {
        "cuts": ["f3", "f5"],
        "blocks": ["depthwise", "residual"],
        "patches": [1, 2],
        "losses": {"full": {}, "one_step": {"flow": 0, "endpoint": 0, "fft": 0}},
        "seeds": [0, 1],
        "minutes": 0.01,
    }
    return validated(Params, values, "test")


def test_every_combination_has_a_name_of_its_own(grid):
    assert len({variant.name for variant in variants(grid.ablation)}) == 16


def test_a_variant_changes_its_own_choices_and_nothing_else(grid):
    variant = next(item for item in variants(grid.ablation) if item.name == "f5-depthwise-1-one_step")
    changed = params_of(grid, variant, seed=7, steps=40)
    assert (changed.seed, changed.train.cut, changed.train.steps) == (7, "f5", 40)
    assert (changed.train.field.block, changed.train.field.patch) == ("depthwise", 1)
    assert changed.train.losses.flow == changed.train.losses.endpoint == changed.train.losses.fft == 0
    same = {"cut", "steps", "hours", "validate_every", "field", "losses"}
    assert changed.train.model_dump(exclude=same) == grid.train.model_dump(exclude=same)
    assert changed.train.losses.rgb == grid.train.losses.rgb
    assert changed.latents == grid.latents


def test_a_run_has_the_steps_its_time_allows_and_repeats(values, photos, autoencoder, tmp_path):  # noqa: F811
    params = validated(Params, values, "test")
    manifest = build(params, photos, autoencoder, tmp_path / "cache/manifest.json")
    costs = tmp_path / "costs.json"
    time_variants(params, manifest, autoencoder, costs, 1, tmp_path / "work")
    timed = json.loads(costs.read_text())
    assert [cost["name"] for cost in timed] == ["f3-residual-1-full", "f3-residual-2-full"]
    for cost in timed:
        assert cost["steps"] == max(1, round(0.6 / cost["step_seconds"]))
    costs.write_text(json.dumps([cost | {"steps": 4} for cost in timed]))

    def run(seed: int, folder: str) -> dict:
        arguments = (costs, manifest, autoencoder, tmp_path / folder / "run.json", 1, tmp_path / folder)
        train_variant(params, "f3-residual-2-full", seed, *arguments)
        return json.loads((tmp_path / folder / "run.json").read_text())

    first = run(0, "a")
    assert first == run(0, "b")
    assert first["validation_psnr"] != run(1, "c")["validation_psnr"]
    assert first["steps"] == 4
    with pytest.raises(ValueError, match="'f9-none' is no variant of ablation; choose one of f3-residual-1-full"):
        train_variant(params, "f9-none", 0, costs, manifest, autoencoder, tmp_path / "d.json", 1, tmp_path)


def test_the_table_has_means_over_seeds_best_first_and_marks_what_nothing_beats(grid, tmp_path):
    source, runs = np.random.default_rng(0), []
    for variant, seed in itertools.product(variants(grid.ablation), (0, 1)):
        path = tmp_path / f"{variant.name}-{seed}.json"
        cost = {"step_seconds": 1.0, "steps": 9, "render_gflops": 1.0, "parameters": 5}
        result = vars(variant) | {"seed": seed, "validation_psnr": source.uniform(20, 30), **cost}
        result |= {"feature_bicubic_psnr": 20.0, "validation_margin": 0.0}
        result |= {"render_seconds": sum(map(ord, variant.name)) / 1000}
        path.write_text(json.dumps(result))
        runs.append(path)
    tabulate(runs, tmp_path / "ablation.csv", tmp_path / "ablation.md")
    table = pd.read_csv(tmp_path / "ablation.csv")
    assert len(table) == 16
    assert table["psnr"].is_monotonic_decreasing
    both = [json.loads(run.read_text())["validation_psnr"] for run in runs[:2]]
    line = table.query("cut == 'f3' and block == 'depthwise' and patch == 1 and losses == 'full'").iloc[0]
    assert line["psnr"] == pytest.approx(np.mean(both), abs=1e-3)
    assert line["spread"] == pytest.approx(abs(both[0] - both[1]), abs=1e-3)
    for one in table.itertuples():
        beaten = ((table["psnr"] > one.psnr) & (table["render_seconds"] < one.render_seconds)).any()
        if one.efficient:
            assert not beaten
        else:
            assert ((table["psnr"] > one.psnr) & (table["render_seconds"] <= one.render_seconds)).any()
    sheet = (tmp_path / "ablation.md").read_text().splitlines()
    assert len(sheet) == 18
    assert len({line.count("|") for line in sheet}) == 1
