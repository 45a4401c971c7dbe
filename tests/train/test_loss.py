"""The loss of a pass against the definitions of docs/formulation.md, computed here once more, line by line."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.functional import gaussian_blur

from fsr.flow.field import VectorField, build_field
from fsr.flow.path import FeaturePair
from fsr.flow.stats import FeatureStatistics, batch_statistics
from fsr.images import RESAMPLINGS
from fsr.latents import LatentBatch, encode_crops
from fsr.train.loss import Draws, StepLoss

CUT, CROP, TILE, BORDER = "f3", 128, 64, 16
STRIDE = 2  # pixels per feature at f3
WEIGHTS = {
    "flow": 1.0, "endpoint": 0.5, "fft": 0.1, "one_step": 1.0, "rgb": 0.5, "low_frequency": 0.2,
    "high_frequency": 0.2, "drift": 0.005, "gate_sparsity": 0.001, "gate_variation": 0.001,
}  # fmt: skip
NO_PIXELS = {"rgb": 0.0, "low_frequency": 0.0, "high_frequency": 0.0}
NO_TIMES = {"flow": 0.0, "endpoint": 0.0, "fft": 0.0}


@pytest.fixture
def values(values):
    """The tiny study's, with the method's weights, both scales, larger crops, and full precision."""
    values["scales"], values["runtime"]["dtype"] = [2, 4], "float32"
    values["latents"]["crop_size"] = CROP
    values["train"]["losses"] = dict(WEIGHTS)
    return values


@pytest.fixture(scope="module")
def batches(autoencoder) -> dict[int, LatentBatch]:
    """Two crops of smooth noise, at each scale."""
    noise = torch.rand(2, 3, CROP // 4, CROP // 4, generator=torch.Generator().manual_seed(0))
    crops = (F.interpolate(noise, scale_factor=4, mode="bilinear") * 255).byte()
    stored = encode_crops(crops, autoencoder, RESAMPLINGS["strict"], [2, 4], torch.float32)
    shared = {name: stored[name].float() for name in ("z_H", "x_H_rec")}
    return {
        scale: LatentBatch(
            **shared,
            crop=crops,
            z_L=stored[f"z_L_x{scale}"],
            x_L_rec=stored[f"x_L_rec_x{scale}"].float(),
            scale=scale,
        )
        for scale in (2, 4)
    }


def awake(params, autoencoder, seed: int = 1) -> VectorField:
    """A field that moves, in coordinates that are not those it was built with."""
    field = build_field(params, CUT, autoencoder)
    source = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in field.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=source))
    channels = field.config.channels
    mean, std = torch.randn(2, channels, generator=source)
    field.set_statistics(FeatureStatistics(mean, std.abs() + 0.5))
    return field


def step_loss(params, autoencoder, **kwargs) -> StepLoss:
    field = awake(params, autoencoder)
    return StepLoss(params, CUT, autoencoder, field, field, **kwargs)


def charbonnier(a, b):
    return torch.sqrt((a - b) ** 2 + 1e-6).mean()


def spectrum(f):
    return torch.fft.fft2(f, norm="ortho")[..., : f.shape[-1] // 2 + 1].abs()


def euler_four(field, b, scale):
    """Four explicit steps of a quarter."""
    f = b
    for t in (0.0, 0.25, 0.5, 0.75):
        f = f + 0.25 * field(f, torch.full((len(b),), t), b, scale).velocity
    return f


def reference(field, autoencoder, batch, draws, tile=None, teacher=None) -> dict[str, torch.Tensor]:
    """The table of the objective, from the latents down."""
    f_H = autoencoder.head(batch.z_H, CUT)
    f_B = F.interpolate(autoencoder.head(batch.z_L, CUT), f_H.shape[-2:], mode="bicubic", align_corners=False)
    x_H_rec = 2 * batch.x_H_rec - 1
    x_base = F.interpolate(2 * batch.x_L_rec - 1, scale_factor=batch.scale, mode="bicubic", antialias=True)
    if tile:
        windows = draws.windows

        def part(x, step):
            side = tile // step
            rows = [x[i, :, y // step :, z // step :][:, :side, :side] for i, (y, z) in enumerate(windows)]
            return torch.stack(rows)

        f_H, f_B, x_H_rec, x_base = part(f_H, STRIDE), part(f_B, STRIDE), part(x_H_rec, 1), part(x_base, 1)
    mean, std = field.feature_mean[:, None, None], field.feature_std[:, None, None]
    b, h, t = (f_B - mean) / std, (f_H - mean) / std, draws.t[:, None, None, None]
    f_t = (1 - t) * b + t * h + 0.03 * t * (1 - t) * draws.eps
    at_t, at_0 = field(f_t, draws.t, b, batch.scale), field(b, torch.zeros(len(b)), b, batch.scale)
    end, f_hat = f_t + (1 - t) * at_t.velocity, b + at_0.velocity
    x_hat = 2 * autoencoder.tail(f_hat * std + mean, CUT) - 1
    if tile:
        x_hat, x_H_rec, x_base = (x[..., BORDER:-BORDER, BORDER:-BORDER] for x in (x_hat, x_H_rec, x_base))

    def low(x):
        return gaussian_blur(x, 13, 2.0)

    def high(x):
        return x - gaussian_blur(x, 7, 1.0)

    terms = {
        "flow": charbonnier(at_t.velocity, h - b),
        "endpoint": charbonnier(end, h),
        "fft": (spectrum(end * std + mean) - spectrum(h * std + mean)).abs().mean(),
        "one_step": charbonnier(f_hat, h),
        "rgb": charbonnier(x_hat, x_H_rec),
        "low_frequency": (low(x_hat) - low(x_base)).abs().mean(),
        "high_frequency": (high(x_hat) - high(x_H_rec)).abs().mean(),
        "drift": ((f_hat - b) * std).abs().mean(),
    }
    if at_t.gate is not None:
        gate = torch.cat([at_t.gate, at_0.gate])
        rows, columns = gate[..., 1:, :] - gate[..., :-1, :], gate[..., 1:] - gate[..., :-1]
        terms |= {"gate_sparsity": gate.mean(), "gate_variation": rows.abs().mean() + columns.abs().mean()}
    if teacher is not None:
        with torch.no_grad():
            target = euler_four(teacher, b, batch.scale)
        terms["consistency"] = charbonnier(f_hat, target)
    return terms


def gradient(field, total) -> torch.Tensor:
    """Of all the field's parameters, in one vector."""
    parts = torch.autograd.grad(total, list(field.parameters()), allow_unused=True, materialize_grads=True)
    return torch.cat([part.flatten() for part in parts])


@pytest.mark.parametrize("tile", [None, TILE])
@pytest.mark.parametrize("gate", ["none", "scalar", "channel"])
@pytest.mark.parametrize("scale", [2, 4])
def test_every_term_its_sum_and_their_gradients_are_the_methods(
    values, changed, autoencoder, batches, scale, gate, tile
):
    size = values["train"]["field"] | {"gate": gate, "patch": scale}
    consistency = {"weight": 0.3, "margin": 0}
    params = changed(values, field=size, feature_tile=tile, consistency=consistency)
    loss, teacher = step_loss(params, autoencoder), awake(params, autoencoder, seed=2)
    draws = loss.draw([5, 12])
    found = loss.terms(batches[scale], draws, 0, teacher)
    expected = reference(loss.raw_field, autoencoder, batches[scale], draws, tile, teacher)
    assert set(found) == set(expected)
    numbers = {name: term.item() for name, term in found.items()}
    assert numbers == pytest.approx({name: term.item() for name, term in expected.items()}, rel=1e-5)
    total = sum((WEIGHTS | {"consistency": 0.3})[name] * term for name, term in expected.items())
    assert loss.total(found).item() == pytest.approx(total.item(), rel=1e-5)
    a, b = gradient(loss.raw_field, loss.total(found)), gradient(loss.raw_field, total)
    assert (a - b).norm() < 3e-5 * b.norm()


@settings(max_examples=20, deadline=None)
@given(samples=st.lists(st.integers(0, 10**6), min_size=1, max_size=5, unique=True), cut=st.integers(0, 5))
def test_a_samples_random_numbers_depend_on_its_number_alone(tiled_loss, samples, cut):
    """However samples are put into batches, and whatever stood there before, their rows are the same."""
    whole = tiled_loss.draw(samples)
    parts = [tiled_loss.draw(part) for part in (samples[:cut], samples[cut:]) if part]
    assert torch.equal(whole.t, torch.cat([part.t for part in parts]))
    assert torch.equal(whole.eps, torch.cat([part.eps for part in parts]))
    assert whole.windows == sum((part.windows for part in parts), ())
    again = tiled_loss.draw(samples[::-1])
    assert torch.equal(again.eps.flip(0), whole.eps)
    assert again.windows[::-1] == whole.windows


@pytest.fixture(scope="module")
def tiled_loss(autoencoder, root, changed) -> StepLoss:
    """A loss on windows of a quarter of a crop's area."""
    values = yaml.safe_load((root / "tests/tiny/params.yaml").read_text())
    values["latents"]["crop_size"] = CROP
    return step_loss(changed(values, feature_tile=TILE), autoencoder)


def test_times_are_uniform_noise_is_normal_and_no_two_samples_share_them(tiled_loss):
    draws = tiled_loss.draw(range(400))
    assert draws.eps.shape == (400, *tiled_loss.shape)
    assert 0 <= draws.t.min() < 0.02 < 0.98 < draws.t.max() < 1
    assert draws.t.mean().item() == pytest.approx(0.5, abs=0.05)
    assert len(draws.t.unique()) == 400
    assert (draws.eps.mean().item(), draws.eps.std().item()) == pytest.approx((0, 1), abs=0.01)


def test_windows_reach_every_place_and_none_outside(tiled_loss):
    corners = [side for window in tiled_loss.draw(range(300)).windows for side in window]
    assert set(corners) == set(range(0, CROP - TILE + 1, 16)), "whole low-resolution latents, both ends included"


def test_noise_is_drawn_only_where_a_term_needs_it(values, changed, autoencoder, batches):
    full, without = (
        step_loss(changed(values, losses=WEIGHTS | zero, feature_tile=TILE), autoencoder) for zero in ({}, NO_TIMES)
    )
    draws = without.draw([3, 4])
    assert draws.eps is None
    assert torch.equal(draws.t, full.draw([3, 4]).t)
    assert draws.windows == full.draw([3, 4]).windows
    expected, found = (item.terms(batches[2], item.draw([3, 4]), 0) for item in (full, without))
    assert set(expected) - set(found) == set(NO_TIMES)
    assert found["one_step"].item() == pytest.approx(expected["one_step"].item(), rel=1e-6)


def test_a_window_of_the_whole_crop_is_no_window_but_for_the_border(values, changed, autoencoder, batches):
    whole, tiled = (step_loss(changed(values, feature_tile=tile), autoencoder) for tile in (None, CROP))
    draws = tiled.draw([1, 2])
    assert draws.windows == ((0, 0), (0, 0))
    expected, found = (loss.terms(batches[2], draws, 0) for loss in (whole, tiled))
    assert set(found) == set(expected)
    for name in expected:
        same = found[name].item() == pytest.approx(expected[name].item(), rel=1e-5)
        assert same == (name not in NO_PIXELS), name


def test_pixel_terms_of_a_window_do_not_see_its_border_nor_what_is_outside(values, changed, autoencoder, batches):
    loss = step_loss(changed(values, feature_tile=TILE), autoencoder)
    (top, left), draws = (32, 64), loss.draw([1, 2])
    draws = replace(draws, windows=((top, left), (top, left)))
    inner = torch.zeros(CROP, CROP, dtype=torch.bool)
    inner[top + BORDER : top + TILE - BORDER, left + BORDER : left + TILE - BORDER] = True

    def terms(where):
        x_H_rec = batches[2].x_H_rec + 0.5 * where
        found = loss.terms(replace(batches[2], x_H_rec=x_H_rec), draws, 0)
        return {name: term.item() for name, term in found.items()}

    assert terms(~inner) == terms(torch.zeros_like(inner))
    assert terms(inner)["rgb"] != terms(~inner)["rgb"]


@pytest.mark.parametrize("cut", ["f1", "f2", "f3", "f4", "f5"])
def test_features_of_a_pass_are_those_of_whole_crops(values, changed, autoencoder, batches, cut):
    params = changed(values, feature_tile=TILE)
    loss = StepLoss(params, cut, autoencoder, None, None)
    pair = loss.features(batches[4])
    with torch.no_grad():
        assert torch.equal(pair.f_H, autoencoder.head(batches[4].z_H, cut))
    assert pair.f_B.shape == pair.f_H.shape == (2, *autoencoder.feature_shape(cut, CROP, CROP))


def test_pixel_terms_come_every_nth_step_and_the_tail_only_with_them(
    values, changed, autoencoder, batches, monkeypatch
):
    loss, runs = step_loss(changed(values, pixel_loss_every=3), autoencoder), []
    tail = type(autoencoder).tail
    monkeypatch.setattr(type(autoencoder), "tail", lambda self, f, cut: runs.append(1) or tail(self, f, cut))
    scales = [2, 4] * 4
    seen = ["rgb" in loss.terms(batches[scale], loss.draw([0, 1]), step) for step, scale in enumerate(scales)]
    assert seen == [True, True, False, False, False, False, True, True], "of each scale, every third"
    assert len(runs) == 4
    without = step_loss(changed(values, losses=WEIGHTS | NO_PIXELS), autoencoder)
    assert not set(without.terms(batches[2], loss.draw([0, 1]), 0)) & set(NO_PIXELS)
    assert len(runs) == 4


def test_recomputing_activations_changes_no_gradient(values, changed, autoencoder, batches):
    found = []
    for recompute in (False, True):
        loss = step_loss(changed(values, checkpoint_tail=recompute, checkpoint_field=recompute), autoencoder)
        loss.raw_field.checkpoint_blocks = recompute
        loss.total(loss.terms(batches[2], loss.draw([0, 1]), 0)).backward()
        found.append([parameter.grad for parameter in loss.raw_field.parameters()])
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))


def test_the_teacher_is_asked_at_four_times_and_takes_no_gradient(values, changed, autoencoder, batches, monkeypatch):
    params = changed(values, losses=WEIGHTS | NO_TIMES | NO_PIXELS)
    loss, teacher = step_loss(params, autoencoder), awake(params, autoencoder, seed=2)
    asked, forward = [], VectorField.forward

    def recorded(self, f_t, t, f_B, scale):
        if self is teacher:
            asked.append(t.tolist())
        return forward(self, f_t, t, f_B, scale)

    monkeypatch.setattr(VectorField, "forward", recorded)
    terms = loss.terms(batches[2], loss.draw([0, 1]), 0, teacher)
    terms["consistency"].backward()
    assert asked == [[t, t] for t in (0.0, 0.25, 0.5, 0.75)]
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert loss.raw_field.out_velocity.weight.grad.abs().max() > 0
    assert "consistency" not in loss.terms(batches[2], loss.draw([0, 1]), 0)


def test_the_autoencoder_stays_frozen(values, changed, autoencoder, batches):
    loss = step_loss(changed(values), autoencoder)
    loss.total(loss.terms(batches[2], loss.draw([0, 1]), 0)).backward()
    assert all(parameter.grad is None for parameter in autoencoder.parameters())


def test_running_statistics_are_of_what_a_pass_sees(values, changed, autoencoder, batches):
    """Those of the first window are taken, later ones weigh 0.01; `average` sees the moments of each."""
    averaged = []
    params = changed(values, statistics="running", feature_tile=TILE)
    loss = step_loss(params, autoencoder, average=lambda moments: averaged.append(moments) or moments)
    draws, later = loss.draw([0, 1]), loss.draw([2, 3])

    def window(draws: Draws) -> FeatureStatistics:
        pair, side = loss.features(batches[2]), TILE // STRIDE
        corners = [(top // STRIDE, left // STRIDE) for top, left in draws.windows]
        parts = [
            torch.stack([x[:, y : y + side, z : z + side] for x, (y, z) in zip(f, corners, strict=True)])
            for f in (pair.f_B, pair.f_H)
        ]
        return batch_statistics(FeaturePair(*parts))

    loss.terms(batches[2], draws, 0, first=True)
    assert torch.equal(loss.raw_field.feature_mean, window(draws).mean)
    assert torch.equal(loss.raw_field.feature_std, window(draws).std)
    loss.terms(batches[2], later, 0)
    expected = 0.99 * window(draws).mean + 0.01 * window(later).mean
    assert torch.allclose(loss.raw_field.feature_mean, expected, atol=1e-6)
    assert len(averaged) == 2
