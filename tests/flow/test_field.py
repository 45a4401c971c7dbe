import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from fsr.flow.field import VectorField, build_field, load_field
from fsr.flow.stats import FeatureStatistics

SIZES = [
    {"block": block, "patch": patch, "gate": gate}
    for block in ("depthwise", "residual")
    for patch in (1, 2, 4)
    for gate in ("none", "scalar", "channel")
]


def field(scales=(2,), channels=6, **changes) -> VectorField:
    torch.manual_seed(0)
    size = {"hidden": 16, "blocks": 2, "block": "residual", "patch": 1, "gate": "scalar"} | changes
    return VectorField(channels, "f3", list(scales), autoencoder="none", **size)


def awake(**changes) -> VectorField:
    """A field whose zero-initialised layers are not zero any more."""
    model = field(**changes)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model


def tensor(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_an_untrained_field_does_not_move(size):
    f_t, f_B, t = tensor(0, 2, 6, 8, 4), tensor(1, 2, 6, 8, 4), torch.tensor([0.2, 0.9])
    output = field(**size)(f_t, t, f_B, 2)
    assert output.velocity.shape == f_t.shape
    assert output.velocity.abs().max() == 0


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_it_depends_on_all_it_is_given(size):
    model, f_t, f_B, t = awake(**size), tensor(0, 1, 6, 8, 4), tensor(1, 1, 6, 8, 4), torch.tensor([0.2])
    velocity = model(f_t, t, f_B, 2).velocity
    for other in ((f_t + 1, t, f_B), (f_t, t + 0.5, f_B), (f_t, t, f_B + 1)):
        assert not torch.allclose(velocity, model(*other, 2).velocity)


@pytest.mark.parametrize("patch", [1, 2])
def test_the_state_comes_first_and_the_condition_second(patch):
    model, f_t, f_B, t = awake(patch=patch), tensor(0, 1, 6, 8, 4), tensor(1, 1, 6, 8, 4), torch.tensor([0.2])
    with torch.no_grad():
        model.in_proj.weight[:, 6 * patch**2 :] = 0
    assert torch.equal(model(f_t, t, f_B, 2).velocity, model(f_t, t, f_B + 1, 2).velocity)
    assert not torch.allclose(model(f_t, t, f_B, 2).velocity, model(f_t + 1, t, f_B, 2).velocity)


@pytest.mark.parametrize(("gate", "channels"), [("scalar", 1), ("channel", 6)])
def test_the_gate_starts_at_its_bias_and_multiplies_the_velocity(gate, channels):
    model = field(gate=gate)
    torch.nn.init.zeros_(model.out_gate.weight)
    torch.nn.init.ones_(model.out_velocity.bias)
    output = model(tensor(0, 1, 6, 4, 4), torch.zeros(1), tensor(1, 1, 6, 4, 4), 2)
    opening = torch.sigmoid(torch.tensor(-1.0))
    assert output.gate.shape == (1, channels, 4, 4)
    assert torch.allclose(output.gate, opening.expand_as(output.gate))
    assert torch.allclose(output.velocity, opening.expand(1, 6, 4, 4))


@pytest.mark.parametrize("block", ["depthwise", "residual"])
def test_recomputing_blocks_changes_no_gradient(block):
    gradients = []
    for recompute in (False, True):
        model = awake(block=block)
        model.checkpoint_blocks = recompute
        model(torch.ones(1, 6, 4, 4), torch.zeros(1), torch.ones(1, 6, 4, 4), 2).velocity.square().sum().backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))


def test_normalising_is_undone_and_a_constant_channel_is_harmless():
    model = field()
    model.set_statistics(FeatureStatistics(torch.arange(6.0), torch.tensor([0.0, 1, 2, 3, 4, 5])))
    features = tensor(0, 2, 6, 4, 4)
    assert torch.isfinite(model.normalise(features)).all()
    assert torch.allclose(model.denormalise(model.normalise(features)), features, atol=1e-5)


def test_a_saved_field_is_the_same_field(tmp_path, params, autoencoder):
    saved = build_field(params.model_copy(update={"scales": [2, 4]}), "f3", autoencoder)
    saved.set_statistics(FeatureStatistics(torch.arange(16.0), torch.ones(16)))
    saved.save_pretrained(tmp_path)
    assert {file.suffix for file in tmp_path.iterdir()} == {".json", ".safetensors"}
    loaded = load_field(tmp_path, autoencoder)
    assert (loaded.config.cut, loaded.config.scales) == ("f3", [2, 4])
    assert all(torch.equal(a, loaded.state_dict()[name]) for name, a in saved.state_dict().items())


def test_a_field_for_other_weights_is_refused(tmp_path, params, autoencoder):
    field().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="trained for another autoencoder"):
        load_field(tmp_path, autoencoder)
    with pytest.raises(FileNotFoundError, match="no trained field"):
        load_field(tmp_path / "nothing", autoencoder)


@pytest.mark.parametrize("wrong", [{"block": "dense"}, {"gate": "open"}])
def test_unknown_choices_list_the_known_ones(wrong):
    with pytest.raises(ValueError, match="choose one of"):
        field(**wrong)


def test_a_field_that_is_not_whole_is_refused(tmp_path, params, autoencoder):
    for name, drop in (("config", drop_entry), ("weights", drop_tensor)):
        folder = tmp_path / name
        build_field(params, "f3", autoencoder).save_pretrained(folder)
        drop(folder)
        with pytest.raises(ValueError, match=r"config\.json"):
            load_field(folder, autoencoder)


def drop_entry(folder):
    config = json.loads((folder / "config.json").read_text())
    del config["hidden"]
    (folder / "config.json").write_text(json.dumps(config))


def drop_tensor(folder):
    weights = load_file(folder / "diffusion_pytorch_model.safetensors")
    del weights[min(weights)]
    save_file(weights, folder / "diffusion_pytorch_model.safetensors")
