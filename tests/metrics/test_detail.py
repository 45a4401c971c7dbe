import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from fsr.images import RESAMPLINGS, enlarge, quantise
from fsr.metrics.detail import base_measures, colour_shift, gradient_l1, high_frequency_gain
from fsr.metrics.fidelity import psnr, ssim

STRICT, PROTOTYPE = RESAMPLINGS["strict"], RESAMPLINGS["prototype"]
NAMES = ["base_psnr", "base_ssim", "base_l1", "base_gradient_l1", "hf_energy", "hf_gain", "colour_shift"]


def picture(height: int = 64, width: int = 48, seed: int = 0) -> torch.Tensor:
    """A smooth image with some noise, in [0.2, 0.8]."""
    source = torch.Generator().manual_seed(seed)
    smooth = enlarge(torch.rand(1, 3, height // 8, width // 8, generator=source), 8)
    return (0.3 + 0.4 * smooth + 0.05 * torch.rand(1, 3, height, width, generator=source)).clamp(0.2, 0.8)


def measured(output: torch.Tensor, *, scale: int = 2, resampling=STRICT, **options) -> dict[str, float]:
    """Against the low-resolution image of `picture()` and a base that is its enlargement."""
    x_L = resampling.low_resolution(picture(), scale)
    return base_measures(output, x_L, resampling.enlarge(x_L, scale), scale, resampling, **options)


def energy(image: torch.Tensor) -> float:
    """Mean absolute difference from scipy's Gaussian blur of sigma 1, radius 3, reflected without its edge."""
    planes = image[0].double().numpy()
    blurred = np.stack([gaussian_filter(plane, 1, mode="mirror", radius=3) for plane in planes])
    return float(np.abs(planes - blurred).mean())


def test_the_names_of_the_tables():
    assert list(measured(picture())) == NAMES


@pytest.mark.parametrize("resampling", [STRICT, PROTOTYPE])
@pytest.mark.parametrize("scale", [2, 4])
def test_the_original_preserves_its_low_resolution_image_to_the_bit(scale, resampling):
    """Made small as the protocol made x_L: by another kernel, or unrounded, it would not."""
    found = measured(picture(), scale=scale, resampling=resampling)
    assert (found["base_psnr"], found["base_l1"], found["base_gradient_l1"], found["colour_shift"]) == (
        math.inf,
        0,
        0,
        0,
    )
    assert found["base_ssim"] == pytest.approx(1)


def test_each_number_is_that_of_its_formula():
    output = quantise(picture(seed=1))
    x_L = STRICT.low_resolution(picture(), 2)
    found, small = measured(output), STRICT.low_resolution(output, 2)
    a, b = small[0].double().numpy(), x_L[0].double().numpy()
    assert found["base_l1"] == pytest.approx(np.abs(a - b).mean())
    assert found["base_psnr"] == pytest.approx(-10 * np.log10(((a - b) ** 2).mean()))
    assert found["base_ssim"] == ssim(small, x_L)
    in_x = np.abs((a[:, :, 1:] - a[:, :, :-1]) - (b[:, :, 1:] - b[:, :, :-1])).mean()
    in_y = np.abs((a[:, 1:] - a[:, :-1]) - (b[:, 1:] - b[:, :-1])).mean()
    assert found["base_gradient_l1"] == pytest.approx((in_x + in_y) / 2)
    assert found["hf_energy"] == pytest.approx(energy(output), rel=1e-4)
    assert found["hf_gain"] == pytest.approx(energy(output) / energy(STRICT.enlarge(x_L, 2)), rel=1e-4)
    assert found["colour_shift"] == pytest.approx(255 * np.abs(a.mean((1, 2)) - b.mean((1, 2))).mean())


def test_structural_similarity_is_the_protocols():
    output, x_L = picture(seed=1), PROTOTYPE.low_resolution(picture(), 2)
    small = PROTOTYPE.low_resolution(output, 2)
    found = measured(output, resampling=PROTOTYPE, reflected_ssim=True)
    assert found["base_ssim"] == ssim(small, x_L, reflected=True) != ssim(small, x_L)


def test_noise_the_low_resolution_cannot_see_is_detail_and_not_a_change_of_the_base():
    """A checkerboard of one pixel vanishes when made small by antialiased bicubic; a step of tone does not."""
    board = ((torch.arange(64)[:, None] + torch.arange(48)) % 2 * 2 - 1) * 8 / 255
    plain, boarded, lighter = (
        measured(quantise(image)) for image in (picture(), picture() + board, picture() + 8 / 255)
    )
    assert boarded["base_l1"] < 1 / 255 < lighter["base_l1"]
    assert boarded["hf_gain"] > 2 * plain["hf_gain"]
    assert lighter["hf_gain"] == pytest.approx(plain["hf_gain"], rel=1e-3)
    assert lighter["colour_shift"] == pytest.approx(8, abs=0.01)
    assert boarded["colour_shift"] < 0.1


def test_a_shift_of_one_channel_counts_a_third_and_shifts_do_not_cancel():
    x = picture()
    red, opposed = x.clone(), x.clone()
    red[:, 0] += 6 / 255
    opposed[:, 0] += 6 / 255
    opposed[:, 1] -= 6 / 255
    assert colour_shift(red, x) == pytest.approx(2, rel=1e-4)
    assert colour_shift(opposed, x) == pytest.approx(4, rel=1e-4)


def test_gradients_do_not_see_tone():
    x = picture()
    assert gradient_l1(x, x + 0.1) == pytest.approx(0, abs=1e-7)
    assert psnr(x, x + 0.1) == pytest.approx(20, abs=1e-3)
    ramp = torch.linspace(0, 1, 11).expand(1, 3, 11, 11)
    assert gradient_l1(ramp, torch.zeros_like(ramp)) == pytest.approx(0.05)


@pytest.mark.parametrize("level", [0.0, 0.3])
def test_over_a_flat_base_the_gain_is_never_nan(level):
    flat = torch.full((1, 3, 64, 48), level)
    assert high_frequency_gain(flat, flat) == 1
    assert high_frequency_gain(picture(), flat) == math.inf
    assert high_frequency_gain(flat, picture()) == pytest.approx(0, abs=1e-5)


def test_what_does_not_fit_is_an_error_with_its_remedy():
    x, x_L = picture(), STRICT.low_resolution(picture(), 2)
    with pytest.raises(ValueError, match="output of .* pixels is not 4 times x_L"):
        base_measures(x, x_L, x, 4, STRICT)
    with pytest.raises(ValueError, match="base of .* pixels is not 2 times x_L"):
        base_measures(x, x_L, x_L, 2, STRICT)
    with pytest.raises(ValueError, match="SSIM needs sides over 10"):
        base_measures(x[..., :16], x_L[..., :8], x[..., :16], 2, STRICT)
