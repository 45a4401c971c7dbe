import json

import numpy as np
import pytest
import torch
from accelerate import init_empty_weights
from safetensors.torch import save_file
from spandrel.architectures.SwinIR import SwinIR
from tiny_models import tiny_model

from fsr.autoencoders import FrozenAutoencoder, weights_sha256
from fsr.config import Lua
from fsr.rivals import build_lua, load_lua, load_rival
from fsr.rivals.lua import LuaNetwork
from fsr.rivals.swinir import reflected

TINY = {"embed": 12, "depths": [2, 3], "heads": 2, "window": 4}
METHOD = Lua(kind="lua", weights=None, head_width=64, **TINY)


def tensor(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def original(scale: int) -> SwinIR:
    """SwinIR as spandrel has it for images, with 4 channels, whose values it then takes as they are."""
    torch.manual_seed(scale)
    sizes = {"embed_dim": 12, "depths": [2, 3], "num_heads": [2, 2], "window_size": 4, "mlp_ratio": 2}
    model = SwinIR(in_chans=4, upscale=scale, upsampler="pixelshuffle", img_size=16, **sizes)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model.eval()


def public_names(*models: SwinIR) -> dict[str, torch.Tensor]:
    """The state dict of LUA's public code: the body's names are SwinIR's own; of each head they begin with heads.xS."""
    head_names = {"conv_before_upsample.": "conv_before.", "upsample.": "upsample.", "conv_last.": "conv_last."}
    state = {}
    for model in models:
        for name, value in model.state_dict().items():
            old = next((old for old in head_names if name.startswith(old)), None)
            place = name if old is None else f"heads.x{model.upscale}.{head_names[old]}{name.removeprefix(old)}"
            state.setdefault(place, value)
    return state


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "lua.pth"
    torch.save({"params_ema": public_names(original(2), original(4))}, path)
    return path


def test_the_published_size_has_the_published_number_of_parameters():
    with init_empty_weights():
        network = LuaNetwork(16, [2, 4], "", embed=360, depths=[6] * 6, heads=12, window=16, head_width=256)
    assert count(network.body) == 46_103_472
    assert count(network.scale_heads["x2"]) == 3_226_896
    assert count(network.scale_heads["x4"]) == 5_587_216
    assert count(network) == 54_917_584


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("sides", [(8, 12), (7, 13), (5, 4)], ids=str)
def test_a_head_of_64_channels_makes_it_swinir(checkpoint, scale, sides):
    """The whole of spandrel's SwinIR: padding, body, skip, head and cropping, with the first model's body."""
    network, first, model = load_lua(checkpoint, 4), original(2), original(scale)
    for part in ("conv_first", "layers", "norm", "patch_embed", "conv_after_body"):
        getattr(model, part).load_state_dict(getattr(first, part).state_dict())
    z = tensor(0, 2, 4, *sides)
    assert torch.allclose(network(z, scale), model(z), atol=1e-5)
    assert network(z, scale).std() > 0.01


@pytest.mark.parametrize("wrap", [lambda s: {"params_ema": s}, lambda s: {"params": s}, lambda s: s])
def test_published_layouts_are_read(tmp_path, checkpoint, wrap):
    path, z = tmp_path / "other.pth", tensor(0, 1, 4, 8, 8)
    torch.save(wrap(public_names(original(2), original(4))), path)
    assert torch.equal(load_lua(path, 4)(z, 4), load_lua(checkpoint, 4)(z, 4))


def test_averaged_weights_come_before_the_last_ones(tmp_path, checkpoint):
    path, z = tmp_path / "both.pth", tensor(0, 1, 4, 8, 8)
    zeros = {name: torch.zeros_like(value) for name, value in public_names(original(2)).items()}
    torch.save({"params": zeros, "params_ema": public_names(original(2)), "iter": 3}, path)
    assert torch.equal(load_lua(path, 4)(z, 2), load_lua(checkpoint, 4)(z, 2))


def test_sizes_are_read_off_the_tensors(tmp_path):
    path = tmp_path / "lua.safetensors"
    save_file(public_names(original(4)), path)
    config = dict(load_lua(path, 4).config)
    expected = TINY | {"channels": 4, "scales": [4], "head_width": 64, "autoencoder": ""}
    assert {name: config[name] for name in expected} == expected
    assert not load_lua(path, 4).training


def changed(state: dict[str, torch.Tensor], **changes: torch.Tensor | None) -> dict[str, torch.Tensor]:
    renamed = {name.replace("__", "."): value for name, value in changes.items()}
    return {name: value for name, value in (state | renamed).items() if value is not None}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda s: changed(s, norm__bias=None), "has no body.norm.bias"),
        (lambda s: changed(s, extra=torch.zeros(1)), "has an unknown body.extra"),
        (lambda s: changed(s, norm__bias=torch.zeros(5)), r"body.norm.bias of shape \(5,\) instead of \(12,\)"),
        (lambda s: changed(s, heads__x2__conv_last__bias=None), "has no scale_heads.x2.conv_last.bias"),
        (lambda s: {name: value for name, value in s.items() if "heads" not in name}, "has no heads"),
        (lambda s: changed(s, conv_first__weight=None), "holds no SwinIR body"),
        (lambda s: {"weights": s}, "holds no state dict, neither at params_ema, params"),
        (lambda s: {}, "holds no state dict"),
        (lambda s: [1, 2], "holds a list"),
    ],
)
def test_another_layout_is_refused(tmp_path, content, message):
    path = tmp_path / "wrong.pth"
    torch.save(content(public_names(original(2))), path)
    with pytest.raises(ValueError, match=message):
        load_lua(path, 4)


def test_other_latents_damage_and_absence_are_refused(tmp_path, checkpoint):
    with pytest.raises(ValueError, match="made for latents of 4 channels, and this autoencoder's have 16"):
        load_lua(checkpoint, 16)
    with pytest.raises(FileNotFoundError, match="put the file there"):
        load_lua(tmp_path / "nothing.pth", 4)
    for name in ("damaged.pth", "damaged.safetensors"):
        (tmp_path / name).write_bytes(checkpoint.read_bytes()[:100])
        with pytest.raises(ValueError, match="cannot be read as tensors"):
            load_lua(tmp_path / name, 4)


class Harmful:
    def __reduce__(self):
        return print, ("run",)


def test_no_code_in_a_file_is_run(tmp_path, capsys):
    torch.save({"params": Harmful()}, tmp_path / "harmful.pth")
    with pytest.raises(ValueError, match="cannot be read as tensors"):
        load_lua(tmp_path / "harmful.pth", 4)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("length", range(1, 9))
@pytest.mark.parametrize("multiple", [4, 16])
def test_padding_is_numpys_reflection_however_short_the_side(length, multiple):
    x = tensor(0, 1, 2, length, 8)
    (_, _, height, width) = padded = reflected(x, multiple).shape
    extra = [(0, new - old) for new, old in zip(padded, x.shape, strict=True)]
    assert np.array_equal(reflected(x, multiple), np.pad(x, extra, mode="reflect"))
    assert height % multiple == width % multiple == 0
    assert height - length < multiple


def test_a_scale_without_a_head_is_refused():
    network = LuaNetwork(4, [2], "", head_width=8, **TINY)
    with pytest.raises(ValueError, match=r"scale 4 has no head in this LUA; choose one of \[2\]"):
        network(tensor(0, 1, 4, 4, 4), 4)
    with pytest.raises(ValueError, match="cannot enlarge by 3"):
        LuaNetwork(4, [3], "", head_width=8, **TINY)
    with pytest.raises(ValueError, match="embed 12 is not a multiple of heads 5"):
        LuaNetwork(4, [2], "", head_width=8, **TINY | {"heads": 5})
    with pytest.raises(ValueError, match="window 1 cannot be shifted"):
        LuaNetwork(4, [2], "", head_width=8, **TINY | {"window": 1})


def test_training_reaches_every_weight_the_scale_uses_and_draws_nothing_at_random():
    network, z = LuaNetwork(4, [2, 4], "", head_width=8, **TINY).train(), tensor(0, 2, 4, 8, 8)
    state = torch.get_rng_state()
    assert torch.equal(network(z, 2), network(z, 2))
    assert torch.equal(torch.get_rng_state(), state)
    network(z, 2).square().sum().backward()
    reached = {name for name, parameter in network.named_parameters() if parameter.grad is not None}
    assert {name for name, _ in network.named_parameters()} - reached == {
        f"scale_heads.x4.{name}" for name, _ in network.scale_heads["x4"].named_parameters()
    }


def test_building_is_seeded_and_leaves_the_global_state(params, autoencoder):
    state = torch.get_rng_state()
    networks = [build_lua(METHOD, params, autoencoder), build_lua(METHOD, params, autoencoder)]
    other = build_lua(METHOD, params.model_copy(update={"seed": params.seed + 1}), autoencoder)
    assert torch.equal(torch.get_rng_state(), state)
    weights = [network.body.conv_first.weight for network in (*networks, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert list(networks[0].config.scales) == params.scales
    assert networks[0].config.channels == autoencoder.latent_channels


def test_a_saved_network_comes_back_and_only_for_its_autoencoder(tmp_path, params, autoencoder):
    network, z = build_lua(METHOD, params, autoencoder).eval(), tensor(0, 1, 4, 8, 8)
    network.save_pretrained(tmp_path)
    loaded = load_rival(tmp_path, autoencoder)
    assert isinstance(loaded, LuaNetwork)
    assert not loaded.training
    assert loaded.config.autoencoder == weights_sha256(autoencoder)
    assert torch.equal(loaded(z, 2), network(z, 2))
    with pytest.raises(ValueError, match="trained for another autoencoder"):
        load_rival(tmp_path, FrozenAutoencoder(tiny_model(shift=0.2)))


def test_a_folder_without_a_network_is_refused(tmp_path, params, autoencoder):
    with pytest.raises(FileNotFoundError, match="no trained network"):
        load_rival(tmp_path, autoencoder)
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "VectorField"}))
    with pytest.raises(ValueError, match="holds a VectorField; it must be one of LuaNetwork, LsrnaNetwork"):
        load_rival(tmp_path, autoencoder)
    (tmp_path / "config.json").write_text(build_lua(METHOD, params, autoencoder).to_json_string())
    with pytest.raises(FileNotFoundError, match="no trained network"):
        load_rival(tmp_path, autoencoder)
