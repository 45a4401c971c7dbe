"""`strict` against MATLAB's own low-resolution images and the published bicubic anchors, where a mirror is at hand."""

import os
from pathlib import Path

import pytest
import torch

from fsr.datasets import find_files, read_registry
from fsr.images import list_images, quantise, read_image, shrink
from fsr.metrics.detail import high_frequency_error, low_frequency_drift
from fsr.metrics.protocol import PROTOCOLS
from fsr.upscalers.interpolation import Bicubic

STRICT = PROTOCOLS["strict"]
MIRROR = os.environ.get("FSR_MIRROR")
needs_mirror = pytest.mark.skipif(not MIRROR, reason="FSR_MIRROR names no mirror of the public sets")


def test_a_sample_is_cropped_to_what_the_autoencoder_takes_and_its_lr_has_8_bits(autoencoder):
    sample = STRICT.sample(torch.rand(1, 3, 50, 37), autoencoder, 2)
    assert sample.x_H.shape[-2:] == (48, 32)
    assert sample.x_L.shape[-2:] == (24, 16)
    assert torch.equal(sample.x_L, quantise(sample.x_L))


def test_output_is_what_would_be_saved():
    assert torch.equal(STRICT.output(torch.tensor([-0.1, 0.5001, 1.2])), torch.tensor([0.0, 128 / 255, 1.0]))


def test_the_border_is_left_out():
    a = torch.rand(1, 3, 32, 32)
    b = a.clone()
    b[..., :2, :] = 0
    assert STRICT.fidelity(a, b, 2)["rgb_l1"] == 0
    assert STRICT.fidelity(a, b, 1)["rgb_l1"] > 0


def test_detail_measures_separate_the_bands():
    x = torch.rand(1, 3, 64, 64)
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
        difference = ((shrink(image, scale) - matlab) * 255).abs()[..., 4:-4, 4:-4].round()
        assert (difference <= 1).double().mean() >= 0.9999
        assert difference.max() <= 2


@needs_mirror
@pytest.mark.parametrize(("name", "published"), [("Set5", 33.66), ("Set14", 30.24)])
def test_bicubic_lands_on_the_published_anchor(name, published, autoencoder, root):
    scores = []
    for file in find_files(read_registry(root / "data/datasets.csv")[name]):
        sample = STRICT.sample(read_image(file), autoencoder, 2)
        output = STRICT.output(Bicubic()(sample).image)
        scores.append(STRICT.fidelity(output, sample.x_H, 2)["psnr_y"])
    assert sum(scores) / len(scores) == pytest.approx(published, abs=0.1)
