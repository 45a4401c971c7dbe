"""Kernels against torch's own operations, in double precision where they allow it."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fsr.tiling.execute import Moments
from fsr.tiling.kernels import Bicubic, EnlargedConvolution, PatchConvolution, as_image, as_rows
from fsr.tiling.program import Norm
from fsr.tiling.settings import Tiling, parse_memory, parse_tile
from fsr.tiling.winograd import WinogradConvolution, pays


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def padded(image: torch.Tensor, above: int, below: int) -> torch.Tensor:
    """The window (rows, W, C) of a whole image (1, C, H, W) with zeros above and below."""
    return as_rows(F.pad(image, (0, 0, above, below)))


@settings(max_examples=30, deadline=None)
@given(
    rows=st.integers(1, 9), width=st.integers(1, 11), inputs=st.integers(1, 5), outputs=st.integers(1, 5),
    seed=st.integers(0, 99), bias=st.booleans(),
)  # fmt: skip
def test_saving_products_changes_no_value(rows, width, inputs, outputs, seed, bias):
    x, weight = drawn(1, inputs, rows, width, seed=seed), drawn(outputs, inputs, 3, 3, seed=seed + 1)
    b = drawn(outputs, seed=seed + 2) if bias else None
    expected = F.conv2d(x.double(), weight.double(), None if b is None else b.double(), padding=1)
    made = as_image(WinogradConvolution(weight, b)(padded(x, 1, 1)))
    assert torch.allclose(made.double(), expected, atol=2e-5)


def test_the_faster_way_rounds_no_more_than_the_direct_one():
    x, weight = drawn(1, 128, 24, 40), drawn(128, 128, 3, 3, seed=1) / 34
    exact = F.conv2d(x.double(), weight.double(), padding=1)
    direct = (F.conv2d(x, weight, padding=1) - exact).abs().max()
    made = (as_image(WinogradConvolution(weight, None)(padded(x, 1, 1))) - exact).abs().max()
    assert made < 2 * direct


def test_the_faster_way_is_taken_where_it_is_exact_and_pays():
    weight = torch.zeros(128, 128, 3, 3)
    assert pays(weight, 1, 1)
    assert not pays(weight.bfloat16(), 1, 1)
    assert not pays(weight, 2, 1)
    assert pays(weight[:64], 1, 1)
    assert not pays(weight[:32], 1, 1)
    assert not pays(weight[..., :1, :1], 1, 1)


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 6), width=st.integers(1, 7), seed=st.integers(0, 99), bias=st.booleans())
def test_a_convolution_of_an_enlargement_that_is_never_made(rows, width, seed, bias):
    x, layer = drawn(1, 3, rows, width, seed=seed).double(), nn.Conv2d(3, 4, 3, padding=1, bias=bias).double()
    expected = layer(F.interpolate(x, scale_factor=2, mode="nearest"))
    kernel = EnlargedConvolution(layer.weight.detach(), layer.bias.detach() if bias else None)
    with torch.no_grad():
        assert torch.allclose(as_image(kernel(padded(x, 1, 1))), expected, atol=1e-5)  # weights are summed in float32


@settings(max_examples=20, deadline=None)
@given(rows=st.integers(1, 6), width=st.integers(1, 7), scale=st.sampled_from([2, 3, 4]))
def test_bicubic_rows_are_those_of_the_whole(rows, width, scale):
    x = drawn(1, 3, rows, width)
    expected = F.interpolate(x, scale_factor=scale, mode="bicubic", align_corners=False)
    window = as_rows(F.pad(x, (0, 0, 2, 2), mode="replicate"))
    assert torch.allclose(as_image(Bicubic(scale)(window)), expected, atol=1e-5)


@pytest.mark.parametrize("patch", [1, 2, 4])
def test_a_convolution_of_patches(patch):
    x, layer = drawn(1, 3, 4 * patch, 5 * patch), nn.Conv2d(3 * patch**2, 6, 3, padding=1)
    expected = layer(F.pixel_unshuffle(x, patch))
    kernel = PatchConvolution(layer.weight.detach(), layer.bias.detach(), patch)
    with torch.no_grad():
        assert torch.allclose(as_image(kernel(padded(x, patch, patch))), expected, atol=1e-5)


@given(rows=st.lists(st.integers(1, 5), min_size=1, max_size=5), offset=st.sampled_from([0.0, 50.0, -3000.0]))
@settings(max_examples=25, deadline=None)
def test_statistics_of_strips_normalise_as_group_norm_of_the_whole(rows, offset):
    """Also where the mean is large beside the deviation, which sums of squares alone would lose."""
    x, layer = drawn(sum(rows), 6, 8) + offset, nn.GroupNorm(2, 8, eps=1e-6)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    moments = Moments()
    for part in x.split(rows):
        moments.add(part)
    affine = moments.affine(Norm(2, 1e-6, layer.weight.detach(), layer.bias.detach()))
    with torch.no_grad():
        expected = layer.double()(as_image(x.double()))
    made = as_image(x.double() * affine.weight.double() + affine.bias.double())
    assert torch.allclose(made, expected, atol=1e-6 * max(1, abs(offset)))


@pytest.mark.parametrize(
    ("text", "size"), [("4GB", 2**32), ("4 GiB", 2**32), ("1.5g", 3 * 2**29), ("800M", 800 * 2**20), ("512", 512)]
)
def test_sizes_of_memory(text, size):
    assert parse_memory(text) == size


@pytest.mark.parametrize("text", ["", "0", "four", "4 apples", "-1GB", "0GB"])
def test_what_is_no_size_of_memory(text):
    with pytest.raises(ValueError, match="give a size such as 4GB"):
        parse_memory(text)


def test_what_a_tile_may_be():
    assert parse_tile("auto") == Tiling()
    assert parse_tile("off") == Tiling(whole=True)
    assert parse_tile("96") == Tiling(rows=96)
    for wrong in ("0", "-4", "x", "1.5"):
        with pytest.raises(ValueError, match="give auto, off, or how many rows"):
            parse_tile(wrong)
