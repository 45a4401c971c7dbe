"""Each term against an independent computation."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torchvision.transforms.functional import gaussian_blur

from fsr.filters import high_pass, low_pass
from fsr.flow import objective
from fsr.flow.path import sample_path


def tensor(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*(shape or (2, 3, 24, 20)), generator=torch.Generator().manual_seed(seed))


A, B = tensor(0), tensor(1)


def test_charbonnier():
    expected = np.sqrt((A.numpy() - B.numpy()) ** 2 + 1e-6).mean()
    assert objective.charbonnier(A, B).item() == pytest.approx(expected, rel=1e-6)
    for term in (objective.endpoint_term, objective.one_step_term, objective.rgb_term):
        assert term(A, B).item() == pytest.approx(expected, rel=1e-6)


def test_the_true_velocity_has_the_least_flow_loss_and_ends_at_f_h():
    sample = sample_path(A, B, torch.tensor([0.3, 0.8]), torch.zeros_like(A), 0.03)
    assert objective.flow_term(sample, B - A).item() == pytest.approx(1e-3, rel=1e-5)
    assert torch.allclose(objective.endpoint(sample, B - A), B, atol=1e-5)


def test_fft_term():
    expected = np.abs(np.abs(np.fft.rfft2(A, norm="ortho")) - np.abs(np.fft.rfft2(B, norm="ortho"))).mean()
    assert objective.fft_term(A, B).item() == pytest.approx(expected, rel=1e-5)


def test_a_large_spectrum_is_taken_after_resizing():
    """To half its side, bilinear is the mean of each two by two; a side of at most 256 stays."""
    large = tensor(2, 1, 2, 512, 512)
    halved = large.reshape(1, 2, 256, 2, 256, 2).mean(dim=(3, 5))
    expected = np.abs(np.fft.rfft2(halved, norm="ortho"))
    assert np.allclose(objective.amplitude_spectrum(large), expected, atol=1e-4)
    assert objective.amplitude_spectrum(torch.zeros(1, 1, 300, 100)).shape == (1, 1, 256, 51)


def test_the_spectrum_ignores_a_circular_shift():
    assert objective.fft_term(A.roll((3, 5), dims=(2, 3)), A).item() < 1e-6


def test_frequency_terms():
    expected = (gaussian_blur(A, 13, 2.0) - gaussian_blur(B, 13, 2.0)).abs().mean().item()
    assert objective.low_frequency_term(A, B).item() == pytest.approx(expected, rel=1e-4)
    high = (A - gaussian_blur(A, 7, 1.0)) - (B - gaussian_blur(B, 7, 1.0))
    assert objective.high_frequency_term(A, B).item() == pytest.approx(high.abs().mean().item(), rel=1e-4)


def test_the_filters_are_scipys_and_add_up():
    expected = ndimage.gaussian_filter(A[0, 0].numpy(), 2.0, mode="mirror", radius=6)
    assert np.allclose(low_pass(A, 2.0)[0, 0], expected, atol=1e-5)
    assert torch.allclose(low_pass(A, 1.0) + high_pass(A, 1.0), A, atol=1e-6)
    with pytest.raises(ValueError, match="too short for a blur"):
        low_pass(torch.zeros(1, 1, 6, 30), 2.0)


def test_drift_and_gate_terms():
    assert objective.drift_term(A, B).item() == pytest.approx((A - B).abs().mean().item())
    ramp = torch.arange(5.0).repeat(4, 1)[None, None] / 10
    assert objective.gate_terms(ramp)["gate_sparsity"].item() == pytest.approx(0.2)
    assert objective.gate_terms(ramp)["gate_variation"].item() == pytest.approx(0.1)
    assert objective.gate_terms(None) == {}


def test_terms_are_summed_with_their_weights():
    """A term that was not computed does not count, whatever its weight."""
    weights = {"flow": 1.0, "endpoint": 0.5, "fft": 0.1, "rgb": 0.0, "drift": 7.0}
    terms = {"flow": torch.tensor(2.0), "endpoint": torch.tensor(4.0), "fft": torch.tensor(30.0), "rgb": torch.ones(())}
    assert objective.weighted_sum(terms, weights).item() == pytest.approx(2 + 2 + 3)


def test_the_end_of_several_steps_teaches_and_does_not_learn():
    f_hat, end = A.clone().requires_grad_(), B.clone().requires_grad_()
    term = objective.consistency_term(f_hat, end)
    assert term.item() == pytest.approx(objective.charbonnier(A, B).item())
    term.backward()
    assert end.grad is None
    assert f_hat.grad.abs().max() > 0
