"""Both protocols against independent computations; `strict` against MATLAB and the published bicubic anchors."""

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from fsr.config.kinds import ProtocolName
from fsr.images import RESAMPLINGS, crop_to_multiple, enlarge, list_images, quantise, read_image, shrink
from fsr.metrics.detail import high_frequency_error, low_frequency_drift
from fsr.metrics.fidelity import crop_border, luma, psnr, ssim
from fsr.metrics.protocol import PROTOCOLS
from fsr.upscalers.interpolation import Bicubic, DecodedBicubic

STRICT, PROTOTYPE = PROTOCOLS["strict"], PROTOCOLS["prototype"]
ONLY_A_FACTOR = SimpleNamespace(factor=8)  # stands in for the autoencoder where only pixels are resized
ANCHORS = {"Set5": 33.66, "Set14": 30.24, "B100": 29.56, "Urban100": 26.88}  # published bicubic x2, Y, border 2
MIRROR = os.environ.get("FSR_MIRROR")
needs_mirror = pytest.mark.skipif(not MIRROR, reason="FSR_MIRROR names no mirror of the public sets")


def noise(height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


def photograph(seed: int, side: int = 128) -> torch.Tensor:
    """A random image with the amplitude spectrum of natural ones, about 1/f^1.2."""
    source = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(source.standard_normal((3, side, side))) / frequency**1.2
    texture = np.fft.irfft2(spectrum, s=(side, side))
    return torch.from_numpy(0.5 + 0.15 * texture / texture.std())[None].float().clamp(0, 1)


def bicubic_scores(protocol, image: torch.Tensor) -> dict[str, float]:
    sample = protocol.sample(image, ONLY_A_FACTOR, 2)
    return protocol.fidelity(protocol.output(Bicubic()(sample).image), protocol.output(sample.x_H), 2)


def test_every_protocol_of_the_parameters_is_there_under_its_name():
    names = set(ProtocolName.__args__)
    assert set(PROTOCOLS) == set(RESAMPLINGS) == names
    assert all(PROTOCOLS[name].name == name and PROTOCOLS[name].resampling is RESAMPLINGS[name] for name in names)


@settings(max_examples=20, deadline=None)
@given(st.integers(32, 80), st.integers(32, 80), st.sampled_from([2, 4]))
def test_strict_crops_from_the_corner_and_prototype_around_the_centre(height, width, scale):
    image = noise(height, width)
    strict, prototype = (protocol.sample(image, ONLY_A_FACTOR, scale) for protocol in (STRICT, PROTOTYPE))
    assert torch.equal(strict.x_H, crop_to_multiple(image, 8 * scale))
    assert torch.equal(prototype.x_H, crop_to_multiple(image, 8 * scale, centred=True))
    assert strict.x_H.shape[-2:] == (height // (8 * scale) * 8 * scale, width // (8 * scale) * 8 * scale)
    assert strict.x_L.shape == prototype.x_L.shape
    assert strict.size == strict.x_H.shape[-2:]


@pytest.mark.parametrize("scale", [2, 4])
def test_low_resolution_is_rounded_in_strict_and_plain_torch_in_prototype(scale):
    image = (noise(64, 96) > 0.5).float()  # hard edges: the kernel overshoots
    strict, prototype = (protocol.sample(image, ONLY_A_FACTOR, scale).x_L for protocol in (STRICT, PROTOTYPE))
    assert torch.equal(strict, quantise(strict))
    assert torch.equal(strict, shrink(image, scale))
    size = (64 // scale, 96 // scale)
    assert torch.equal(prototype, F.interpolate(image, size=size, mode="bicubic", align_corners=False))
    assert prototype.min() < 0 and prototype.max() > 1


def test_pixels_are_enlarged_with_the_protocols_own_kernel(autoencoder):
    image = noise(32, 48)
    strict, prototype = (protocol.sample(image, autoencoder, 2) for protocol in (STRICT, PROTOTYPE))
    plain = F.interpolate(prototype.x_L, size=(32, 48), mode="bicubic", align_corners=False)
    assert torch.equal(Bicubic()(prototype).image, plain)
    assert torch.equal(Bicubic()(strict).image, enlarge(strict.x_L, 2))
    decoded = autoencoder.decode(prototype.z_L)
    plain = F.interpolate(decoded, size=(32, 48), mode="bicubic", align_corners=False)
    assert torch.equal(prototype.x_base, plain)
    assert torch.equal(DecodedBicubic()(prototype).image, plain)
    assert torch.equal(strict.x_base, enlarge(autoencoder.decode(strict.z_L), 2))
    assert (RESAMPLINGS["strict"].enlarge(image, 2) - RESAMPLINGS["prototype"].enlarge(image, 2)).abs().max() > 0.004


def test_strict_output_is_what_would_be_saved_and_prototype_output_is_clamped_only():
    images = torch.tensor([-0.1, 0.5001, 1.2])
    assert torch.equal(STRICT.output(images), torch.tensor([0.0, 128 / 255, 1.0]))
    assert torch.equal(PROTOTYPE.output(images), torch.tensor([0.0, 0.5001, 1.0]))


@pytest.mark.parametrize(("protocol", "border"), [(STRICT, 2), (PROTOTYPE, 0)])
def test_the_border_that_is_left_out(protocol, border):
    a = noise(32, 32)
    framed = a.clone()
    framed[..., 0, :] = 1 - a[..., 0, :]
    assert (protocol.fidelity(framed, a, 2)["rgb_l1"] == 0) == (border > 0)
    b = noise(32, 32, 1)
    inner = crop_border(a, border), crop_border(b, border)
    assert protocol.fidelity(a, b, 2)["psnr"] == psnr(*inner)
    assert protocol.fidelity(a, b, 2)["ssim"] == ssim(*inner, reflected=protocol.reflected_ssim)


def test_perceptual_metrics_see_whole_images_or_squares():
    image = noise(40, 64)
    assert STRICT.perceptual_view(image) is image
    resized = F.interpolate(image, size=(256, 256), mode="bilinear", align_corners=False)
    assert torch.equal(PROTOTYPE.perceptual_view(image), resized)
    assert torch.equal(replace(PROTOTYPE, perceptual_side=None).perceptual_view(image), image)


@pytest.mark.parametrize("seed", range(4))
def test_aliased_low_resolution_makes_bicubic_read_higher(seed):
    strict, prototype = (bicubic_scores(protocol, photograph(seed)) for protocol in (STRICT, PROTOTYPE))
    assert 0.05 < prototype["psnr_y"] - strict["psnr_y"] < 1
    assert prototype["psnr"] > strict["psnr"]
    assert prototype["ssim"] > strict["ssim"]


def test_detail_measures_separate_the_bands():
    x = noise(64, 64)
    assert high_frequency_error(x + 0.1, x) < 1e-6, "a constant has no high frequencies"
    assert low_frequency_drift(x + 0.1, x) == pytest.approx(0.1, abs=1e-6)


@needs_mirror
@pytest.mark.parametrize("scale", [2, 4])
def test_lr_is_matlabs_away_from_the_border(scale):
    high = list_images(Path(MIRROR, "datasets/Set5/HR"))
    low = list_images(Path(MIRROR, f"datasets/Set5/LR_matlab_x{scale}"))
    for file, expected in zip(high, low, strict=True):
        matlab = read_image(expected)
        image = read_image(file)[..., : matlab.shape[-2] * scale, : matlab.shape[-1] * scale]
        found = STRICT.resampling.low_resolution(image, scale)
        difference = ((found - matlab) * 255).abs()[..., 4:-4, 4:-4].round()
        assert (difference <= 1).double().mean() >= 0.9999
        assert difference.max() <= 2


@needs_mirror
@pytest.mark.parametrize(("name", "published"), ANCHORS.items())
def test_bicubic_lands_on_the_published_anchor(name, published):
    """PSNR alone, as `fidelity` takes it: SSIM of two hundred images would take a minute."""
    scores = []
    for file in list_images(Path(MIRROR, "datasets", name, "HR")):
        sample = STRICT.sample(read_image(file), ONLY_A_FACTOR, 2)
        pair = STRICT.output(Bicubic()(sample).image), sample.x_H
        scores.append(psnr(*(luma(crop_border(image, 2)) for image in pair)))
    assert sum(scores) / len(scores) == pytest.approx(published, abs=0.1)
