import torch

from fsr.flow.path import feature_pair, sample_path, sigma


def features(seed: int) -> torch.Tensor:
    return torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(seed))


def test_the_bridge_starts_at_f_b_and_ends_at_f_h_without_noise():
    f_B, f_H, eps = features(0), features(1), features(2)
    for t, end in ((0.0, f_B), (1.0, f_H)):
        sample = sample_path(f_B, f_H, torch.full((2,), t), eps, sigma_max=0.5)
        assert torch.equal(sample.f_t, end)
        assert torch.equal(sample.target, f_H - f_B)


def test_its_noise_has_the_stated_level():
    f_B, f_H = torch.zeros(1, 1, 200, 200), torch.ones(1, 1, 200, 200)
    eps = torch.randn(f_B.shape, generator=torch.Generator().manual_seed(0))
    sample = sample_path(f_B, f_H, torch.tensor([0.3]), eps, sigma_max=0.5)
    assert sigma(torch.tensor(0.5, dtype=torch.float64), 0.03).item() == 0.03 * 0.25
    assert abs((sample.f_t - 0.3).std().item() - 0.5 * 0.3 * 0.7) < 2e-3


def test_each_item_of_a_batch_has_its_own_time():
    f_B, f_H = features(0), features(1)
    both = sample_path(f_B, f_H, torch.tensor([0.2, 0.9]), torch.zeros_like(f_B), 0.0).f_t
    for index, t in enumerate((0.2, 0.9)):
        assert torch.allclose(both[index], (1 - t) * f_B[index] + t * f_H[index])


def test_a_pair_has_one_shape_and_f_h_is_the_head(autoencoder):
    z_H, z_L = torch.randn(1, 4, 4, 6), torch.randn(1, 4, 2, 3)
    with torch.inference_mode():
        for cut in autoencoder.cuts:
            pair = feature_pair(autoencoder, z_H, z_L, cut)
            assert pair.f_B.shape == pair.f_H.shape
            assert torch.equal(pair.f_H, autoencoder.head(z_H, cut))
