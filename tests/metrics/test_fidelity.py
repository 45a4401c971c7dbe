import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
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


@pytest.mark.parametrize("shape", [(40, 52), (11, 30)])
def test_ssim_over_every_position_is_scipys_under_mirrored_borders(shape):
    """torch's "reflect" padding, which repeats no border pixel, is scipy's "mirror"."""
    pixels = [array(x).transpose(2, 0, 1) for x in pair(*shape)]

    def blur(x: np.ndarray) -> np.ndarray:
        return gaussian_filter(x, 1.5, radius=5, mode="mirror", axes=(1, 2))

    (a, b), (mean_a, mean_b) = pixels, map(blur, pixels)
    covariance = blur(a * b) - mean_a * mean_b
    variances = blur(a * a) - mean_a**2 + blur(b * b) - mean_b**2
    similar = (2 * mean_a * mean_b + 1e-4) * (2 * covariance + 9e-4)
    expected = (similar / ((mean_a**2 + mean_b**2 + 1e-4) * (variances + 9e-4))).mean()
    assert ssim(*pair(*shape), reflected=True) == pytest.approx(expected, abs=1e-5)
    assert ssim(*pair(*shape)) != pytest.approx(expected, abs=1e-4)


def test_ssim_of_an_image_smaller_than_its_window_is_refused():
    with pytest.raises(ValueError, match="SSIM needs sides over 10 pixels"):
        ssim(*pair(10, 30), reflected=True)


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
