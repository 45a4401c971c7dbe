from contextlib import contextmanager

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fsr.rivals import LsrnaNetwork, LuaNetwork
from fsr.upscalers.base import Sample
from fsr.upscalers.interpolation import LatentBicubic
from fsr.upscalers.latent import Lsrna, Lua, edge_density, noised, with_means_of

BODY = {"embed": 8, "depths": [2], "heads": 2, "window": 4}


class EnlargingRaw(nn.Module):
    """LUA's part, played by bicubic interpolation; it keeps what it was given."""

    def check_scale(self, scale: int) -> None:
        pass

    def forward(self, z_raw: torch.Tensor, scale: int) -> torch.Tensor:
        self.given = z_raw
        return F.interpolate(z_raw, scale_factor=scale, mode="bicubic", align_corners=False)


class EnlargingScaled(nn.Module):
    """LSRNA's part, likewise; it adds `shift` to every channel."""

    def __init__(self, shift: float = 0.0) -> None:
        super().__init__()
        self.shift = shift

    def forward(self, z: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        self.given = z
        return F.interpolate(z, size, mode="bicubic", align_corners=False) + self.shift


def picture(seed: int = 0, side: int = 32) -> torch.Tensor:
    """A dark square on a bright ground, with some texture."""
    image = 0.8 + 0.02 * torch.rand(1, 3, side, side + 16, generator=torch.Generator().manual_seed(seed))
    image[..., 8:20, 8:20] = 0.1
    return image


def lua(autoencoder, scales=(2,)) -> Lua:
    torch.manual_seed(0)
    return Lua(LuaNetwork(autoencoder.latent_channels, list(scales), "", head_width=8, **BODY).eval())


def lsrna(autoencoder, **row) -> Lsrna:
    torch.manual_seed(0)
    sizes = {"features": 8, "hidden": [16]} | BODY
    return Lsrna(LsrnaNetwork(autoencoder.latent_channels, "", **sizes).eval(), **row)


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("row", [Lua(EnlargingRaw()), Lsrna(EnlargingScaled())], ids=["lua", "lsrna"])
@torch.no_grad()
def test_around_the_network_nothing_happens_to_the_latent(autoencoder, row, scale):
    """Bicubic interpolation does not mind how latents are scaled, so both are then the latent_bicubic row."""
    sample = Sample(autoencoder, picture(), scale)
    expected = LatentBicubic()(sample).image
    assert torch.allclose(row(sample).image, expected, atol=1e-4)
    assert row(sample).image.shape[-2:] == (32 * scale, 48 * scale)


@torch.no_grad()
def test_lua_is_given_the_models_own_latent_and_lsrna_the_scaled_one(autoencoder):
    sample = Sample(autoencoder, picture(), 2)
    own = autoencoder.model.encode(sample.x_L * 2 - 1).latent_dist.mean
    config = autoencoder.model.config
    Lua(raw := EnlargingRaw())(sample)
    Lsrna(scaled := EnlargingScaled())(sample)
    assert torch.allclose(raw.given, own, atol=1e-5)
    assert torch.allclose(scaled.given, (own - config.shift_factor) * config.scaling_factor, atol=1e-5)
    assert not torch.allclose(raw.given, scaled.given, atol=1e-2)


@torch.no_grad()
def test_real_networks_render_an_image_and_its_scale_decides_the_head(autoencoder):
    row = lua(autoencoder, scales=(2, 4))
    for scale in (2, 4):
        sample = Sample(autoencoder, picture(), scale)
        assert row(sample).image.shape == (1, 3, 32 * scale, 48 * scale)
        assert lsrna(autoencoder)(sample).image.shape == (1, 3, 32 * scale, 48 * scale)


def test_a_scale_without_a_head_is_refused_before_anything_is_computed(autoencoder):
    sample = Sample(autoencoder, picture(), 4)
    with pytest.raises(ValueError, match=r"scale 4 has no head in this LUA; choose one of \[2\]"):
        lua(autoencoder)(sample)
    assert "z_L" not in vars(sample)


def test_what_they_can_do(autoencoder):
    row, other = lua(autoencoder, scales=(2, 4)), lsrna(autoencoder, name="lsrna_steps", after="matched")
    assert (row.name, other.name) == ("lua", "lsrna_steps")
    assert row.capabilities.scales == (2, 4)
    assert other.capabilities.scales is None
    assert row.capabilities.entry == other.capabilities.entry == "latent"
    for made in (row, other):
        assert made.capabilities.parameters == sum(p.numel() for p in made.network.parameters())


@pytest.mark.parametrize(
    ("after", "stages"),
    [
        ("", ["encode", "model", "decode"]),
        ("matched", ["encode", "model", "model", "decode"]),
        ("noised", ["encode", "model", "decode", "model", "decode"]),
    ],
)
@torch.no_grad()
def test_work_is_done_in_its_stage(autoencoder, after, stages):
    seen = []

    @contextmanager
    def clock(stage):
        seen.append(stage)
        yield

    lsrna(autoencoder, after=after)(Sample(autoencoder, picture(), 2), clock)
    assert seen == stages
    if not after:
        seen.clear()
        lua(autoencoder)(Sample(autoencoder, picture(), 2), clock)
        assert seen == stages


@torch.no_grad()
def test_matching_takes_back_a_shift_of_channels_and_nothing_else(autoencoder):
    sample = Sample(autoencoder, picture(), 2)
    plain = [Lsrna(EnlargingScaled(shift))(sample).image for shift in (0.0, 3.0)]
    matched = [Lsrna(EnlargingScaled(shift), after="matched")(sample).image for shift in (0.0, 3.0)]
    assert (plain[0] - plain[1]).abs().mean() > 0.01
    assert torch.allclose(matched[0], matched[1], atol=1e-4)


def test_matched_means_are_the_base_latents():
    source = torch.Generator().manual_seed(0)
    z, z_L = torch.randn(1, 4, 8, 6, generator=source), torch.randn(1, 4, 4, 3, generator=source) + 2
    found = with_means_of(z, z_L)
    assert torch.allclose(found.mean(dim=(2, 3)), z_L.mean(dim=(2, 3)), atol=1e-6)
    assert torch.allclose(found - z, (found - z).mean(dim=(2, 3), keepdim=True).expand_as(z), atol=1e-6)


def test_edges_are_where_brightness_jumps():
    square = torch.full((1, 3, 32, 48), 0.8)
    square[..., 8:20, 8:20] = 0.1
    density = edge_density(square, (8, 12))[0, 0]  # cells of 4 pixels
    assert (density.min(), density.max()) == (0, 1)
    assert torch.equal(density.nonzero().amin(dim=0), torch.tensor([1, 1]))
    assert torch.equal(density.nonzero().amax(dim=0), torch.tensor([4, 4]))
    assert density[3, 3] == 0
    assert (density[1, 3] > 0.5, density[3, 1] > 0.5) == (True, True)


def test_an_image_without_edges_gets_no_noise():
    flat, z = torch.full((1, 3, 32, 32), 0.5), torch.randn(1, 4, 8, 8)
    assert torch.equal(edge_density(flat, (8, 8)), torch.zeros(1, 1, 8, 8))
    assert torch.equal(noised(z, flat, torch.Generator().manual_seed(0)), z)


def test_noise_is_as_strong_as_edges_are_dense():
    image, z = picture(), torch.zeros(1, 400, 8, 12)
    deviation = noised(z, image, torch.Generator().manual_seed(0)).std(dim=1)
    assert torch.allclose(deviation, 1.2 * edge_density(image, (8, 12))[0], atol=0.15)


@torch.no_grad()
def test_the_noised_row_is_seeded_and_noises_the_latent(autoencoder):
    sample = Sample(autoencoder, picture(), 2)
    plain, *rows = (Lsrna(EnlargingScaled(), after=after, seed=seed) for after, seed in zip(
        ("", "noised", "noised", "noised"), (0, 0, 0, 1), strict=True))  # fmt: skip
    first, again, other = (row(sample).image for row in rows)
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)
    assert not torch.allclose(first, plain(sample).image)


@torch.no_grad()
def test_noise_follows_the_edges_of_the_decoded_base(autoencoder):
    """x_L_rec decides, not the image: without edges in it the row is the plain one."""
    sample = Sample(autoencoder, picture(), 2)
    sample.x_L_rec = torch.full_like(sample.x_L, 0.5)
    assert torch.equal(Lsrna(EnlargingScaled(), after="noised")(sample).image, Lsrna(EnlargingScaled())(sample).image)
