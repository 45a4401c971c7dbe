import math

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from fsr.metrics.fidelity import crop_border, l1, luma, psnr, ssim


def pair(height=40, width=52):
    source = torch.Generator().manual_seed(0)
    a = torch.rand(1, 3, height, width, generator=source)
    return a, (a + 0.1 * torch.randn(a.shape, generator=source)).clamp(0, 1)


def array(x: torch.Tensor) -> np.ndarray:
    return x[0].permute(1, 2, 0).double().numpy()


def test_psnr_is_scikit_images():
    a, b = pair()
    assert psnr(a, b) == pytest.approx(peak_signal_noise_ratio(array(a), array(b), data_range=1), rel=1e-9)
    assert psnr(a, a) == math.inf


def test_ssim_is_scikit_images_gaussian_one():
    """Same window and constants; scikit-image pads and crops 5 pixels, so the mean is over the same positions."""
    a, b = pair()
    expected = structural_similarity(
        array(a), array(b), data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, channel_axis=2
    )
    assert ssim(a, b) == pytest.approx(expected, abs=2e-4)
    assert ssim(a, a) == pytest.approx(1.0)


def test_luma_is_the_y_of_ycbcr_as_matlab_has_it():
    colours = torch.tensor([[0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=torch.float32)
    y = luma(colours.T.reshape(1, 3, 1, 5))[0, 0, 0] * 255
    assert torch.allclose(y, torch.tensor([16.0, 235.0, 81.481, 144.553, 40.966]), atol=1e-3)


def test_luma_agrees_with_pillow_up_to_its_range():
    a, _ = pair()
    bytes_ = (array(a) * 255).round().astype(np.uint8)
    full_range = np.asarray(Image.fromarray(bytes_).convert("YCbCr"))[..., 0] / 255
    studio = luma(torch.from_numpy(bytes_).permute(2, 0, 1)[None].float() / 255)[0, 0].numpy()
    assert np.abs((studio * 255 - 16) / 219 - full_range).max() < 0.004


def test_borders_and_l1():
    a, b = pair()
    assert crop_border(a, 0) is a
    assert torch.equal(crop_border(a, 2), a[..., 2:-2, 2:-2])
    assert l1(a, b) == pytest.approx(np.abs(array(a) - array(b)).mean())
