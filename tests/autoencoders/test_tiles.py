"""Tiles against the whole; and many images at once against one by one."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import tiny_of
from torch import Tensor

from fsr.autoencoders import CUTS, FrozenAutoencoder
from fsr.autoencoders.families import FAMILIES
from fsr.autoencoders.tiles import run_in_tiles

sides = st.integers(1, 13)  # in multiples of the factor
tiles = st.integers(1, 5)
factors = st.sampled_from([1, 2, 8])


def noise(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def whole_numbers(*shape: int) -> Tensor:
    """Below 64: weighted sums of them are exact in float32."""
    return torch.randint(64, shape, generator=torch.Generator().manual_seed(0)).float()


def shrunk(x: Tensor, factor: int) -> Tensor:
    return x[..., ::factor, ::factor]


def enlarged(x: Tensor, factor: int) -> Tensor:
    return x.repeat_interleave(factor, -2).repeat_interleave(factor, -1)


@settings(max_examples=60, deadline=None)
@given(sides, sides, tiles, factors)
def test_what_sees_a_pixel_at_a_time_is_exact_and_covers_every_pixel(height, width, tile, factor):
    x = whole_numbers(2, 3, height * factor, width * factor)
    small = run_in_tiles(lambda part: shrunk(part, factor) * 2 + 1, x, tile * factor, 1, factor)
    assert torch.equal(small, shrunk(x, factor) * 2 + 1)
    z = whole_numbers(2, 3, height, width)
    assert torch.equal(
        run_in_tiles(lambda part: enlarged(part, factor) - 1, z, tile, factor, 1), enlarged(z, factor) - 1
    )


@settings(max_examples=60, deadline=None)
@given(sides, sides, tiles, factors)
def test_no_tile_is_larger_than_asked_and_all_begin_at_multiples(height, width, tile, factor):
    """Columns carry their index, so that a tile tells where it was cut."""
    seen = []

    def run(part: Tensor) -> Tensor:
        seen.append((tuple(part.shape[-2:]), int(part[0, 0, 0, 0])))
        return shrunk(part, factor)

    columns = torch.arange(width * factor).float().expand(1, 1, height * factor, -1)
    run_in_tiles(run, columns, tile * factor, 1, factor)
    assert all(max(shape) <= tile * factor for shape, _ in seen)
    assert all(left % factor == 0 for _, left in seen)


@pytest.mark.parametrize(("size", "tile"), [((32, 24), 32), ((32, 32), 40), ((64, 48), None)])
def test_an_image_no_larger_than_a_tile_is_run_whole(size, tile):
    calls = []
    x = noise(1, 3, *size)
    result = run_in_tiles(lambda part: calls.append(part) or part.sin(), x, tile, 1, 1)
    assert torch.equal(result, x.sin())
    assert len(calls) == 1
    assert calls[0] is x


def test_what_sees_its_neighbours_differs_mildly_and_at_seams_only():
    """A 3x3 mean lacks a third of its pixels at a tile's end, where another tile has eight times its weight."""
    x, kernel = noise(1, 1, 80, 104), torch.full((1, 1, 3, 3), 1 / 9)
    tiled = run_in_tiles(lambda part: F.conv2d(part, kernel, padding=1), x, 32, 1, 1)
    difference = (tiled - F.conv2d(x, kernel, padding=1)).abs()[0, 0]
    assert 0 < difference.max() <= 2 * (1 / 3) / (1 + 8)
    seams = {24, 31, 48, 55, 72, 79}  # where tiles at 0, 24, 48 and 72 begin and end
    rows, columns = (difference > 1e-6).nonzero(as_tuple=True)
    assert all(row in seams or column in seams for row, column in zip(rows.tolist(), columns.tolist(), strict=True))


def test_the_result_has_the_dtype_of_what_was_run():
    x = noise(1, 3, 48, 40).to(torch.bfloat16)
    assert run_in_tiles(lambda part: part * 2, x, 16, 1, 1).dtype == torch.bfloat16


@pytest.mark.parametrize("family", FAMILIES)
def test_an_autoencoder_encodes_and_decodes_in_tiles(family):
    model = tiny_of(family)
    tiled, whole = FrozenAutoencoder(model, tile=64), FrozenAutoencoder(model)
    x = noise(2, 3, 72, 136)
    with torch.inference_mode():
        z = tiled.encode(x)
        assert z.shape == whole.encode(x).shape == (2, 4, 9, 17)
        images = tiled.decode(z)
        assert images.shape == x.shape
        assert images.isfinite().all()
        assert not torch.equal(images, whole.decode(z)), "else it was not tiled"
        small = x[..., :64, :64]
        assert torch.equal(tiled.encode(small), whole.encode(small))
        assert torch.equal(tiled.decode(z[..., :8, :8]), whole.decode(z[..., :8, :8]))


@pytest.mark.parametrize("family", FAMILIES)
def test_heads_and_tails_are_whole_however_small_the_tile(family):
    model = tiny_of(family)
    tiled, whole = FrozenAutoencoder(model, tile=64), FrozenAutoencoder(model)
    z = noise(1, 4, 9, 17)
    with torch.inference_mode():
        for cut in CUTS:
            f = whole.head(z, cut)
            assert torch.equal(tiled.head(z, cut), f)
            assert torch.equal(tiled.tail(f, cut), whole.tail(f, cut))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("batch", [1, 2, 5])
def test_many_are_as_one_by_one_in_their_order(monkeypatch, family, batch):
    frozen = FrozenAutoencoder(tiny_of(family))
    shapes = [(16, 24), (24, 16), (16, 24), (16, 24), (8, 8), (24, 16), (16, 24)]
    images = [noise(1, 3, *shape) + index / 10 for index, shape in enumerate(shapes)]
    runs = {name: [] for name in ("encode", "decode")}
    for name, seen in runs.items():
        own = getattr(frozen, name)
        monkeypatch.setattr(frozen, name, lambda x, own=own, seen=seen: seen.append(len(x)) or own(x))
    with torch.inference_mode():
        latents = frozen.encode_all(images, batch)
        decoded = frozen.decode_all(latents, batch)
        sizes = {1: [1] * 7, 2: [2, 2, 2, 1], 5: [4, 2, 1]}[batch]
        assert runs == {"encode": sizes, "decode": sizes}
        for x, z, y in zip(images, latents, decoded, strict=True):
            assert torch.allclose(z, frozen.encode(x), atol=1e-5)
            assert torch.allclose(y, frozen.decode(z), atol=1e-5)


def test_none_at_all_are_none(autoencoder):
    assert autoencoder.encode_all([], 4) == []
