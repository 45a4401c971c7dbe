"""Rows of methods of others are built of what the study trained, or of files that others did."""

import pytest
import torch
from safetensors.torch import save_file
from spandrel.architectures.Compact import Compact

from fsr.config import Params
from fsr.rivals import build_lsrna, build_lua
from fsr.sections import validated
from fsr.upscalers import Sample, rival_upscalers


@pytest.fixture
def study(values, tmp_path) -> Params:
    """Every kind of row: trained for two budgets, with weights, and a pixel model."""
    pixel = Compact(num_in_ch=3, num_out_ch=3, num_feat=8, num_conv=2, upscale=2)
    save_file(pixel.state_dict(), tmp_path / "compact.safetensors")
    methods = values["rivals"]["methods"]
    methods["public"] = methods["lua"] | {"weights": str(tmp_path / "lua.safetensors")}
    methods["compact"] = {"kind": "pixel", "weights": str(tmp_path / "compact.safetensors"), "source": "decoded"}
    methods["compact"]["tile"] = None
    rows = ["lua_steps", "lua_time", "lsrna_steps", "lsrna_steps_matched", "lsrna_steps_noised", "public", "compact"]
    rows += ["lsrna_steps_ensemble", "compact_ensemble"]
    values["benchmark"]["upscalers"] = [*values["benchmark"]["upscalers"], *rows[1:2], *rows[4:]]
    params = validated(Params, values, "test")
    assert set(rows) <= set(params.benchmark.upscalers)
    return params


@pytest.fixture
def folders(study, autoencoder, tmp_path):
    """What training leaves of each model."""
    methods = study.rivals.methods
    lua, lsrna = build_lua(methods["lua"], study, autoencoder), build_lsrna(methods["lsrna"], study, autoencoder)
    torch.nn.init.zeros_(lua.scale_heads["x2"].conv_last.weight)
    torch.nn.init.ones_(lua.scale_heads["x2"].conv_last.bias)
    networks = {"lua_steps": lua, "lua_time": build_lua(methods["lua"], study, autoencoder), "lsrna_steps": lsrna}
    for model, network in networks.items():
        network.save_pretrained(tmp_path / model)
    state = {name.removeprefix("body."): value for name, value in lua.state_dict().items() if name.startswith("body.")}
    heads = {name: value for name, value in lua.state_dict().items() if name.startswith("scale_heads.")}
    state |= {name.replace("scale_heads", "heads"): value for name, value in heads.items()}
    save_file(state, tmp_path / "lua.safetensors")
    return {model: tmp_path / model for model in networks}


def test_each_row_renders_with_its_own_network(study, folders, autoencoder):
    rows = rival_upscalers(study, folders, autoencoder)
    names = [name for name in study.benchmark.upscalers if name in rows]
    assert list(rows) == names
    assert all(row.name == name for name, row in rows.items())
    sample = Sample(autoencoder, torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)), 2)
    with torch.no_grad():
        images = {name: row(sample).image for name, row in rows.items()}
    assert {tuple(image.shape) for image in images.values()} == {(1, 3, 64, 64)}
    assert torch.allclose(images["public"], images["lua_steps"]), "the same weights, whoever trained them"
    others = [name for name in names if name != "public"]
    assert all(not torch.allclose(images[a], images[b]) for a in others for b in others if a < b)


def test_a_row_that_cannot_do_a_scale_of_the_study_is_refused(study, folders, autoencoder):
    both = study.model_copy(update={"scales": [2, 4]})
    with pytest.raises(ValueError, match="lua_steps enlarges by 2 only, and the study by 2, 4; take it out of"):
        rival_upscalers(both, folders, autoencoder)


def test_only_what_is_measured_is_loaded(values, autoencoder):
    values["benchmark"]["upscalers"] = ["bicubic", "decoded_bicubic", "feature_bicubic", "fsr", "vae_roundtrip"]
    assert rival_upscalers(validated(Params, values, "test"), {}, autoencoder) == {}


def test_a_file_that_is_not_there_is_named(study, folders, autoencoder, tmp_path):
    (tmp_path / "compact.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"compact\.safetensors"):
        rival_upscalers(study, folders, autoencoder)
