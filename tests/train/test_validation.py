"""Validation against scikit-image's PSNR and four steps written out, one crop at a time."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from skimage.metrics import peak_signal_noise_ratio
from test_latents import build, image_set

from fsr.flow.field import build_field
from fsr.flow.stats import FeatureStatistics
from fsr.latents import LatentCache
from fsr.train.validation import Validation, Validator, averaged
from fsr.upscalers import Fsr, Sample

CUT, CROP = "f3", 64


@pytest.fixture
def study(values, changed):
    """Five held-out crops of 64 pixels at both scales, measured two at a time."""
    values["scales"], values["runtime"]["dtype"] = [2, 4], "float32"
    values["latents"] |= {"crop_size": CROP, "crops": 2, "validation_crops": 5, "validation_fraction": 0.45}
    return changed(values, batch=2)


@pytest.fixture
def held_out(study, photos, autoencoder, tmp_path) -> LatentCache:
    manifest = build(study, photos, autoencoder, tmp_path / "cache/manifest.json", scales=(2, 4))
    return LatentCache(manifest, "validation")


@pytest.fixture
def photos(tmp_path):
    """Images that can spare a band."""
    return image_set(tmp_path / "photos", tmp_path / "raw/manifest.json", sizes=((160, 200), (200, 160)))


@pytest.fixture
def field(study, autoencoder):
    """One that moves, in coordinates of its own."""
    model = build_field(study, CUT, autoencoder)
    source = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=source))
    mean, std = torch.randn(2, model.config.channels, generator=source)
    model.set_statistics(FeatureStatistics(mean, std.abs() + 0.5))
    return model.eval()


@torch.no_grad()
def expected(field, autoencoder, batch, steps):
    """PSNR and mean absolute error of one crop, 16 pixels away from its border."""
    mean, std = field.feature_mean[:, None, None], field.feature_std[:, None, None]
    f_B = F.interpolate(autoencoder.head(batch.z_L, CUT), (CROP // 2, CROP // 2), mode="bicubic", align_corners=False)
    b = f = (f_B - mean) / std
    for i in range(steps):
        f = f + field(f, torch.tensor([i / steps]), b, batch.scale).velocity / steps
    image, target = autoencoder.tail(f * std + mean, CUT), batch.x_H_rec
    image, target = (x.clamp(0, 1)[0, :, 16:-16, 16:-16].double().numpy() for x in (image, target))
    return peak_signal_noise_ratio(target, image, data_range=1.0), np.abs(target - image).mean()


def test_its_numbers_are_means_over_crops_then_over_scales(study, held_out, autoencoder, field):
    found = Validator(study, CUT, autoencoder, held_out, Accelerator(cpu=True)).measure(field)
    numbers = {}
    for scale in (2, 4):
        crops = [held_out.batch([i], scale) for i in range(5)]
        one, four = (np.mean([expected(field, autoencoder, crop, n) for crop in crops], axis=0) for n in (1, 4))
        numbers[scale] = (*one, four[0])
    psnr, rgb_l1, four = np.mean(list(numbers.values()), axis=0)
    assert found.psnr == pytest.approx(psnr, abs=1e-4)
    assert found.rgb_l1 == pytest.approx(rgb_l1, rel=1e-5)
    assert found.margin == pytest.approx(four - psnr, abs=1e-4)
    assert abs(found.margin) > 0.01, "four steps and one are told apart"
    assert found.psnr_by_scale == pytest.approx({scale: values[0] for scale, values in numbers.items()}, abs=1e-4)
    assert numbers[2][0] != pytest.approx(numbers[4][0], abs=0.01)


class OneOfTwo:
    """What one of two processes sees of an accelerator; its sums are kept."""

    num_processes = 2

    def __init__(self, rank: int) -> None:
        self.process_index, self.sums = rank, None

    def reduce(self, sums: torch.Tensor, reduction: str) -> torch.Tensor:
        assert reduction == "sum"
        self.sums = sums
        return sums


def test_two_processes_share_the_crops_out(study, held_out, autoencoder, field):
    parts = [OneOfTwo(0), OneOfTwo(1)]
    for part in parts:
        Validator(study, CUT, autoencoder, held_out, part).measure(field)
    whole = OneOfTwo(0)
    whole.num_processes = 1
    Validator(study, CUT, autoencoder, held_out, whole).measure(field)
    counts = [part.sums[:, 3].tolist() for part in parts]
    assert counts == [[3, 3], [2, 2]]
    assert torch.allclose(parts[0].sums + parts[1].sums, whole.sums)


def test_a_column_for_each_scale_only_where_there_are_several():
    shared = {"validation_psnr": 30.0, "validation_rgb_l1": 0.02, "validation_margin": 0.1}
    assert Validation(30.0, 0.02, 0.1, {2: 30.0}).row() == shared
    several = Validation(30.0, 0.02, 0.1, {2: 32.0, 4: 28.0}).row()
    assert several == shared | {"validation_psnr_x2": 32.0, "validation_psnr_x4": 28.0}


def test_what_is_validated_is_what_the_upscaler_makes(study, held_out, autoencoder, field):
    validator, batch = Validator(study, CUT, autoencoder, held_out, None), held_out.batch([0, 3], 4)
    sample = Sample(autoencoder, batch.x_L_rec, 4)
    sample.z_L = batch.z_L
    with torch.no_grad():
        image = Fsr(field)(sample).image.clamp(0, 1)
    assert torch.allclose(image, validator.render(field, batch)[1], atol=1e-6)


def test_the_grid_shows_a_row_per_crop_of_the_first_scale(study, held_out, autoencoder, field):
    validator = Validator(study, CUT, autoencoder, held_out, None)
    grid = validator.grid(field)
    assert grid.shape == (3, 5 * CROP, 4 * CROP)
    batch = held_out.batch([2], 2)
    enlarged = F.interpolate(batch.x_L_rec, scale_factor=2, mode="bicubic", antialias=True)
    row = (enlarged, *validator.render(field, batch), batch.x_H_rec)
    third = grid[:, 2 * CROP : 3 * CROP]
    assert torch.allclose(third, torch.cat([image[0] for image in row], dim=2).clamp(0, 1), atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("error", [None, KeyboardInterrupt, ValueError])
def test_averaged_weights_are_there_inside_and_gone_after(field, training, error):
    field.train(training)
    ema = EMAModel(field.parameters(), decay=0.5)
    before = {name: value.clone() for name, value in field.state_dict().items()}
    for shadow in ema.shadow_params:
        shadow.fill_(7.0)

    def inside():
        with averaged(field, ema) as same:
            assert same is field
            assert not field.training
            assert all((parameter == 7).all() for parameter in field.parameters())
            if error:
                raise error

    if error:
        with pytest.raises(error):
            inside()
    else:
        inside()
    assert field.training == training
    assert all(torch.equal(value, before[name]) for name, value in field.state_dict().items())
    assert all((shadow == 7).all() for shadow in ema.shadow_params)
