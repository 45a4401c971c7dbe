"""Each term against an independent computation."""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from fsr.rivals import losses
from fsr.rivals.losses import LUA_STAGES


def tensor(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*(shape or (2, 3, 24, 20)), generator=torch.Generator().manual_seed(seed))


A, B = tensor(0), tensor(1)


def mean_difference(make) -> float:
    """Mean absolute difference of what `make` makes of the planes (H, W) of A and B."""
    planes = [x.double().numpy().reshape(-1, *x.shape[-2:]) for x in (A, B)]
    return np.abs(np.stack([make(a) for a in planes[0]]) - np.stack([make(b) for b in planes[1]])).mean()


def test_l1():
    assert losses.l1(A, B).item() == pytest.approx(np.abs(A.numpy() - B.numpy()).mean(), rel=1e-6)


def test_spectrum():
    expected = mean_difference(lambda plane: np.abs(np.fft.fft2(plane)) / np.sqrt(plane.size))
    assert losses.spectrum_l1(A, B).item() == pytest.approx(expected, rel=1e-5)


def test_a_spectrum_does_not_see_where_things_are():
    assert losses.spectrum_l1(A, A.roll((3, 5), dims=(2, 3))).item() == pytest.approx(0, abs=1e-6)
    assert losses.l1(A, A.roll((3, 5), dims=(2, 3))).item() > 0.5


@pytest.mark.parametrize("scale", [2, 4])
def test_downsampled_is_pillows_bicubic(scale):
    def smaller(plane: np.ndarray) -> np.ndarray:
        size = (plane.shape[1] // scale, plane.shape[0] // scale)
        return np.asarray(Image.fromarray(plane.astype(np.float32)).resize(size, Image.BICUBIC))

    assert losses.downsampled_l1(A, B, scale).item() == pytest.approx(mean_difference(smaller), rel=1e-5)


def test_detail_is_what_scipys_gaussian_of_radius_2_takes_away():
    expected = mean_difference(lambda plane: plane - ndimage.gaussian_filter(plane, 1.0, radius=2, mode="mirror"))
    assert losses.detail_l1(A, B).item() == pytest.approx(expected, rel=1e-5)


def naive_eagle(a: np.ndarray, b: np.ndarray) -> float:
    """EAGLE of one image (3, H, W) each, patch by patch and frequency by frequency."""
    scharr = np.array([[-3, 0, 3], [-10, 0, 10], [-3, 0, 3]])
    total = 0.0
    for kernel in (scharr, scharr.T):
        spectra = []
        for image in (a, b):
            luma = np.tensordot([0.2989, 0.587, 0.114], image, axes=1)
            gradient = ndimage.correlate(luma, kernel, mode="constant")
            rows, columns = (side // 3 for side in luma.shape)
            variances = np.empty((rows, columns))
            for i in range(rows):
                for j in range(columns):
                    variances[i, j] = np.var(gradient[3 * i : 3 * i + 3, 3 * j : 3 * j + 3], ddof=1)
            spectra.append(np.abs(np.fft.fft2(variances)))
        radius = np.sqrt(np.fft.fftfreq(rows)[:, None] ** 2 + np.fft.fftfreq(columns) ** 2)
        weight = 1 - np.exp(-0.5 * (radius - 0.5) ** 2)
        total += np.abs(weight * spectra[0] - weight * spectra[1]).mean()
    return total


@pytest.mark.parametrize("sides", [(24, 21), (25, 20)], ids=str)
def test_eagle(sides):
    a, b = tensor(2, 2, 3, *sides), tensor(3, 2, 3, *sides)
    pairs = zip(a.double().numpy(), b.double().numpy(), strict=True)
    assert losses.eagle(a, b).item() == pytest.approx(np.mean([naive_eagle(*pair) for pair in pairs]), rel=1e-4)


def test_variances_are_along_x_and_along_y():
    stripes = torch.zeros(1, 3, 18, 18)
    stripes[..., ::4] = 1  # brightness changes along x alone
    along_x, along_y = losses.gradient_variances(stripes)[0, :, 1:-1, 1:-1]
    assert along_x.mean() > 10
    assert along_y.abs().max() < 1e-6


def test_the_weights_of_the_three_stages_are_the_published_ones():
    first = {"latent": 1.0, "latent_spectrum": 0.1}
    assert [dict(stage) for stage in LUA_STAGES] == [
        first,
        first | {"downsampled": 0.1, "detail": 0.05},
        {"pixel": 10.0, "pixel_spectrum": 1.0, "eagle": 5e-5},
    ]


@pytest.mark.parametrize("stage", LUA_STAGES, ids=["latents", "both", "pixels"])
def test_a_stage_has_exactly_the_terms_it_weighs(stage):
    terms = losses.latent_terms(A, B, stage) | losses.pixel_terms(A, B, 2, stage)
    assert terms.keys() == stage.keys()
    assert all(value.ndim == 0 and value > 0 for value in terms.values())


def test_terms_go_by_their_names():
    every = {name: 1.0 for stage in LUA_STAGES for name in stage}
    found = losses.latent_terms(A, B, every) | losses.pixel_terms(A, B, 4, every)
    assert found == {
        "latent": losses.l1(A, B),
        "latent_spectrum": losses.spectrum_l1(A, B),
        "downsampled": losses.downsampled_l1(A, B, 4),
        "detail": losses.detail_l1(A, B),
        "pixel": losses.l1(A, B),
        "pixel_spectrum": losses.spectrum_l1(A, B),
        "eagle": losses.eagle(A, B),
    }


@pytest.mark.parametrize("stage", LUA_STAGES, ids=["latents", "both", "pixels"])
def test_terms_vanish_at_the_target_and_have_finite_gradients_everywhere(stage):
    for distance in (0.0, 1.0):
        x = (B + distance * A).requires_grad_()
        terms = losses.latent_terms(x, B, stage) | losses.pixel_terms(x, B, 2, stage)
        sum(terms.values()).backward()
        assert x.grad.isfinite().all()
        assert all((value.item() == 0) == (distance == 0) for value in terms.values())
