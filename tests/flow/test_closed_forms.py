"""Fields whose flow is known exactly, through the objects that use a field."""

from itertools import product

import pytest
import torch
from test_field import SIZES, tensor

from fsr.flow.field import FieldOutput, VectorField, build_field
from fsr.flow.path import FeaturePair
from fsr.flow.stats import FeatureStatistics, batch_statistics
from fsr.latents import LatentBatch
from fsr.train.validation import Validator
from fsr.upscalers import Sample, known_upscalers

CUT = "f3"
SIDE = 32


def sample(autoencoder, scale: int) -> Sample:
    x_H = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    return Sample(autoencoder, torch.nn.functional.avg_pool2d(x_H, scale), scale, x_H)


def batch(item: Sample) -> LatentBatch:
    x_L_rec = item.autoencoder.decode(item.z_L)
    return LatentBatch(item.z_H, item.z_L, (item.x_H * 255).byte(), item.x_H_rec, x_L_rec, item.scale)


def validator(params, cut: str, autoencoder) -> Validator:
    """One that renders batches it is given, from no cache."""
    precise = params.runtime.model_copy(update={"dtype": "float32"})
    return Validator(params.model_copy(update={"runtime": precise}), cut, autoencoder, None, None)


def built(params, autoencoder, cut=CUT, scales=(2,), **size) -> VectorField:
    size = params.train.field.model_copy(update=size)
    train = params.train.model_copy(update={"field": size})
    return build_field(params.model_copy(update={"train": train, "scales": list(scales)}), cut, autoencoder)


@pytest.mark.parametrize("scales", [(2,), (4,), (2, 4)], ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
@torch.inference_mode()
def test_an_untrained_field_is_feature_bicubic_to_the_bit(params, autoencoder, size, scales):
    field = built(params, autoencoder, scales=scales, **size).eval()
    for scale in scales:
        item, rows = sample(autoencoder, scale), known_upscalers(field)
        bicubic = rows["feature_bicubic"](item)
        for name in ("fsr", "fsr_euler2", "fsr_euler4", "fsr_heun4"):
            found = rows[name](item)
            assert torch.equal(found.feature, bicubic.feature), name
            assert torch.equal(found.image, bicubic.image), name
        images = validator(params, CUT, autoencoder).render(field, batch(item), (1, 4))
        assert all(torch.equal(image, bicubic.image.clamp(0, 1)) for image in images)


@pytest.mark.parametrize("cut", ["f1", "f2", "f4", "f5"])
@torch.inference_mode()
def test_so_it_is_at_every_cut(params, autoencoder, cut):
    rows, item = known_upscalers(built(params, autoencoder, cut).eval()), sample(autoencoder, 2)
    assert torch.equal(rows["fsr"](item).image, rows["feature_bicubic"](item).image)


@torch.inference_mode()
def test_in_measured_coordinates_it_is_feature_bicubic_up_to_their_rounding(params, autoencoder):
    field, item = built(params, autoencoder).eval(), sample(autoencoder, 2)
    f_B = item.f_B(CUT)
    field.set_statistics(batch_statistics(FeaturePair(f_B, item.f_H(CUT))))
    assert torch.allclose(known_upscalers(field)["fsr"](item).feature, f_B, rtol=0, atol=1e-6 * f_B.abs().max())


@pytest.mark.parametrize("patch", [1, 2, 4])
@torch.inference_mode()
def test_a_constant_velocity_is_integrated_exactly_by_one_step(params, autoencoder, patch):
    field = built(params, autoencoder, patch=patch, gate="none").eval()
    item, channels = sample(autoencoder, 2), field.config.channels
    constant = tensor(0, channels)
    field.out_velocity.bias.copy_(constant.repeat_interleave(patch**2))
    rows = known_upscalers(field)
    expected = item.f_B(CUT) + constant.view(1, -1, 1, 1)
    assert torch.equal(rows["fsr"](item).feature, expected)
    assert torch.equal(rows["fsr"](item).image, autoencoder.tail(expected, CUT))
    for name in ("fsr_euler2", "fsr_euler4", "fsr_heun4"):
        assert torch.allclose(rows[name](item).feature, expected, atol=1e-5)
    std = tensor(2, channels).abs() + 0.5
    field.set_statistics(FeatureStatistics(tensor(1, channels), std))
    expected = item.f_B(CUT) + (std * constant).view(1, -1, 1, 1)
    assert torch.allclose(rows["fsr"](item).feature, expected, atol=1e-5)


@pytest.mark.parametrize(("cut", "scale"), [*product(("f1", "f3", "f5"), (2, 4))])
@torch.inference_mode()
def test_the_true_velocity_ends_at_the_reconstruction(params, autoencoder, cut, scale):
    """v = f_H - f_B, at the sample's scale, is the flow's own target: one step renders x_H_rec."""
    item = sample(autoencoder, scale)
    field = built(params, autoencoder, cut, scales=(2, 4)).eval()
    channels = field.config.channels
    field.set_statistics(FeatureStatistics(tensor(0, channels), tensor(1, channels).abs() + 0.5))
    f_H = field.normalise(item.f_H(cut))
    field.forward = lambda f_t, t, f_B, asked: FieldOutput((f_H - f_B) * (asked == scale), None)
    rows = known_upscalers(field)
    for name in ("fsr", "fsr_euler4", "fsr_heun4"):
        assert torch.allclose(rows[name](item).image, item.x_H_rec, atol=1e-4), name
    _, one, four = validator(params, cut, autoencoder).render(field, batch(item), (1, 4))
    assert torch.allclose(one, item.x_H_rec.clamp(0, 1), atol=1e-4)
    assert torch.allclose(four, item.x_H_rec.clamp(0, 1), atol=1e-4)
