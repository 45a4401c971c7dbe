import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from accelerate import init_empty_weights
from safetensors.torch import save_file
from spandrel.architectures.SwinIR import SwinIR

from fsr.config import Lsrna
from fsr.rivals import build_lsrna, load_lsrna, load_rival
from fsr.rivals.lsrna import LsrnaNetwork, cell_centres, cell_like

TINY = {"embed": 12, "depths": [2, 1], "heads": 2, "window": 4}
METHOD = Lsrna(kind="lsrna", weights=None, features=8, hidden=[16, 12], queries=64, **TINY)


def tensor(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def original() -> tuple[SwinIR, torch.nn.Sequential]:
    """spandrel's SwinIR, of which LSRNA's public code keeps all up to the 64 features, and LIIF's MLP."""
    torch.manual_seed(0)
    sizes = {"embed_dim": 12, "depths": [2, 1], "num_heads": [2, 2], "window_size": 4, "mlp_ratio": 2}
    encoder = SwinIR(in_chans=4, upscale=2, upsampler="pixelshuffle", img_size=16, **sizes).eval()
    mlp = torch.nn.Sequential(torch.nn.Linear(64 * 9 + 4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 12))
    mlp.extend([torch.nn.ReLU(), torch.nn.Linear(12, 4)])
    for parameter in (*encoder.parameters(), *mlp.parameters()):
        torch.nn.init.normal_(parameter, std=0.1)
    return encoder, mlp


def public_names() -> dict[str, torch.Tensor]:
    encoder, mlp = original()
    state = {f"encoder.{name}": value for name, value in encoder.state_dict().items()}
    kept = {name: value for name, value in state.items() if not name.startswith(("encoder.upsample", "encoder.conv_l"))}
    return kept | {f"imnet.layers.{name}": value for name, value in mlp.state_dict().items()}


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "lsrna.pth"
    args = {"feat_unfold": True, "encoder_spec": {"name": "swinir", "args": {"in_chans": 4}}}
    torch.save({"model": {"name": "liif", "args": args, "sd": public_names()}, "iter": 200000}, path)
    return path


def encoded(encoder: SwinIR, z: torch.Tensor) -> np.ndarray:
    """LIIF's features (64, h, w) of one latent."""
    height, width = z.shape[-2:]
    shallow = encoder.conv_first(F.pad(z, (0, -width % 4, 0, -height % 4), "reflect"))
    deep = encoder.conv_after_body(encoder.forward_features(shallow)) + shallow
    return encoder.conv_before_upsample(deep)[0, :, :height, :width].double().numpy()


def naive(z: torch.Tensor, size: tuple[int, int]) -> np.ndarray:
    """LSR of one latent, place by place, in LIIF's own words: four nearest cells, 81 features, weights by area."""
    encoder, mlp = original()
    features, (height, width) = encoded(encoder, z), z.shape[-2:]
    padded = np.pad(features, ((0, 0), (1, 1), (1, 1)))
    layers = [(layer.weight.double().numpy(), layer.bias.double().numpy()) for layer in mlp[::2]]
    output = F.interpolate(z.double(), size, mode="bicubic", align_corners=False)[0].numpy().copy()
    for row in range(size[0]):
        for column in range(size[1]):
            y, x = (row + 0.5) / size[0] * height - 0.5, (column + 0.5) / size[1] * width - 0.5
            corners = []
            for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):  # cells around the place, in latent pixels
                cell_y = min(max(math.floor(y + 1e-5) + i, 0), height - 1)
                cell_x = min(max(math.floor(x + 1e-5) + j, 0), width - 1)
                neighbours = padded[:, cell_y : cell_y + 3, cell_x : cell_x + 3].reshape(-1)
                relative = [2 * (y - cell_y), 2 * (x - cell_x)]
                value = np.concatenate([neighbours, relative, [2 * height / size[0], 2 * width / size[1]]])
                for number, (weight, bias) in enumerate(layers):
                    value = weight @ (np.maximum(value, 0) if number else value) + bias
                corners.append((value, abs(relative[0] * relative[1]) + 1e-9))
            total = sum(area for _, area in corners)
            for corner, opposite in zip(corners, corners[::-1], strict=True):
                output[:, row, column] += corner[0] * opposite[1] / total
    return output


def test_the_published_size_has_the_published_number_of_parameters():
    with init_empty_weights():
        network = LsrnaNetwork(4, "", embed=60, depths=[6] * 4, heads=6, window=8, features=64, hidden=[256] * 4)
    assert sum(parameter.numel() for parameter in network.parameters()) == 1_285_964


@pytest.mark.parametrize("size", [(12, 10), (18, 15), (24, 20), (11, 17)], ids=str)
@torch.no_grad()
def test_it_is_liif_place_by_place(checkpoint, size):
    z = tensor(0, 1, 4, 6, 5)
    found = load_lsrna(checkpoint, 4)(z, size)
    assert found.shape == (1, 4, *size)
    assert np.allclose(found[0].numpy(), naive(z, size), atol=1e-4)
    bicubic = F.interpolate(z, size, mode="bicubic", align_corners=False)
    assert (found - bicubic).abs().mean() > 0.05  # the network's part is not lost in the tolerance


def network(channels: int = 4, **changes) -> LsrnaNetwork:
    torch.manual_seed(0)
    return LsrnaNetwork(channels, "", **{"features": 8, "hidden": [16, 12]} | TINY | changes).eval()


@pytest.mark.parametrize("channels", [4, 16, 32])
@torch.no_grad()
def test_queries_of_a_whole_grid_are_the_whole(channels):
    model, z, size = network(channels), tensor(0, 2, channels, 7, 5), (14, 15)
    coordinates = cell_centres(size).expand(2, -1, -1)
    found = model.query(z, coordinates, cell_like(coordinates, size))
    assert torch.allclose(found.transpose(1, 2).reshape(2, channels, *size), model(z, size), atol=1e-5)
    assert torch.equal(model(z, size, places=coordinates), found)
    assert torch.allclose(torch.cat([model(one[None], size) for one in z]), model(z, size), atol=1e-5)


@torch.no_grad()
def test_queries_do_not_see_each_other():
    model, z, size = network(), tensor(0, 2, 4, 7, 5), (14, 15)
    chosen = torch.stack([torch.randperm(14 * 15, generator=torch.Generator().manual_seed(i))[:20] for i in range(2)])
    coordinates = cell_centres(size)[chosen]
    whole = model(z, size).flatten(2).transpose(1, 2)
    expected = whole.gather(1, chosen[..., None].expand(-1, -1, 4))
    assert torch.allclose(model.query(z, coordinates, cell_like(coordinates, size)), expected, atol=1e-5)


@pytest.mark.parametrize("chunk", [1, 7, 64, 419, 420])
@torch.no_grad()
def test_the_size_of_chunks_changes_nothing_but_what_is_held_at_once(chunk):
    model, z, most = network(), tensor(0, 2, 4, 7, 5), []
    model.mlp[-1].register_forward_hook(lambda *call: most.append(call[2].shape[:2].numel()))
    assert torch.allclose(model(z, (14, 15), chunk=chunk), model(z, (14, 15)), atol=1e-5)
    assert max(most[: len(most) - 4]) <= max(chunk, 2)


def test_places_and_cells():
    assert torch.allclose(cell_centres((2, 4))[:4], torch.tensor([[-0.5, x] for x in (-0.75, -0.25, 0.25, 0.75)]))
    assert torch.equal(cell_like(torch.zeros(2, 3, 2), (4, 8)), torch.tensor([0.5, 0.25]).expand(2, 3, 2))


def test_training_reaches_every_weight():
    model, z, coordinates = network().train(), tensor(0, 2, 4, 8, 8), cell_centres((16, 16)).expand(2, -1, -1)
    model.query(z, coordinates, cell_like(coordinates, (16, 16))).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_published_layouts_are_read(tmp_path, checkpoint):
    expected, z = load_lsrna(checkpoint, 4), tensor(0, 1, 4, 8, 8)
    torch.save(public_names(), tmp_path / "plain.pth")
    save_file(public_names(), tmp_path / "plain.safetensors")
    for name in ("plain.pth", "plain.safetensors"):
        assert torch.equal(load_lsrna(tmp_path / name, 4)(z, (16, 16)), expected(z, (16, 16)))
    sizes = TINY | {"channels": 4, "features": 64, "hidden": [16, 12], "autoencoder": ""}
    assert {name: expected.config[name] for name in sizes} == sizes
    assert not expected.training


@pytest.mark.parametrize(
    ("remove", "message"),
    [
        ("imnet.", "has no encoder.conv_before_upsample or imnet.layers"),
        ("encoder.conv_before_upsample.", "has no encoder.conv_before_upsample"),
        ("imnet.layers.2.bias", "has no mlp.2.bias"),
        ("encoder.layers.0.residual_group.blocks.1.mlp.fc1.", "has no body.layers.0.residual_group.blocks.1.mlp.fc1"),
        ("encoder.", "holds no SwinIR body"),
    ],
)
def test_another_layout_is_refused(tmp_path, remove, message):
    state = {name: value for name, value in public_names().items() if not name.startswith(remove)}
    torch.save({"model": {"sd": state}}, tmp_path / "wrong.pth")
    with pytest.raises(ValueError, match=message):
        load_lsrna(tmp_path / "wrong.pth", 4)


def test_other_latents_and_other_files_are_refused(tmp_path, checkpoint):
    with pytest.raises(ValueError, match="made for latents of 4 channels, and this autoencoder's have 32"):
        load_lsrna(checkpoint, 32)
    torch.save({"model": {"args": {}}}, tmp_path / "untrained.pth")
    with pytest.raises(ValueError, match="holds no state dict, neither at model/sd"):
        load_lsrna(tmp_path / "untrained.pth", 4)


def test_building_is_seeded_and_a_saved_network_comes_back(tmp_path, params, autoencoder):
    built, z = build_lsrna(METHOD, params, autoencoder).eval(), tensor(0, 1, 4, 8, 8)
    again = build_lsrna(METHOD, params, autoencoder).eval()
    assert torch.equal(built(z, (16, 16)), again(z, (16, 16)))
    built.save_pretrained(tmp_path)
    loaded = load_rival(tmp_path, autoencoder)
    assert isinstance(loaded, LsrnaNetwork)
    assert torch.equal(loaded(z, (16, 16)), built(z, (16, 16)))
