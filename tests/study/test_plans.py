"""Studies with parameters of their own: what they plan, and the sets they make."""

import json
import shutil

import pytest
from commands import AFTER_TRAINING, change, new_study, planned, snakemake
from PIL import Image
from tiny_flux import save_tiny_flux


@pytest.mark.parametrize("name", ["taef2", "flux", "smoke"])
def test_a_preset_is_planned_over_the_default(root, tmp_path, name):
    shutil.copy(root / "params.yaml", tmp_path)
    preset = ("--configfile", str(root / f"experiments/{name}.yaml"))
    rules = planned(tmp_path, "all", *preset)
    expected = {
        "define_crops",
        "list_sets",
        "dataset",
        "leakage",
        "accept_leakage",
        "encode_shard",
        "encode",
        "probe_cut",
        "select_cut",
        "train_field",
    }
    of_flux = {"generate", "reference_features"} if name == "flux" else set()
    assert rules == expected | AFTER_TRAINING | {"time_steps"} | of_flux


def test_a_set_is_generated_where_it_is_not_at_hand(tmp_path):
    folder = new_study(tmp_path / "study")
    save_tiny_flux(tmp_path / "flux")
    (tmp_path / "prompts.txt").write_text("a red house\na blue boat\n")
    section = {"model": str(tmp_path / "flux"), "prompts": str(tmp_path / "prompts.txt"), "size": 64, "steps": 1}
    change(folder, lambda values: (values["data"].update(test=["FLUX179"]), values["generate"].update(section)))
    assert "generate" in planned(folder)
    snakemake(folder, "data/raw/private/FLUX179/manifest.json")
    manifest = json.loads((folder / "data/raw/private/FLUX179/manifest.json").read_text())
    assert manifest["source"] == "generated"
    assert [Image.open(folder / "data/raw/private/FLUX179" / file["name"]).size for file in manifest["files"]] == [
        (64, 64)
    ] * 2
    change(folder, lambda values: values["data"].update(optional=["FLUX179"]))
    assert "generate" not in planned(folder)
