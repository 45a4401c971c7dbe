"""Every family in the configuration of its published models, with random weights."""

from dataclasses import dataclass

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderKLFlux2, AutoencoderTiny, ModelMixin, VQModel
from tiny_models import tiny_model
from torch import Tensor

from fsr.autoencoders import CUTS, FrozenAutoencoder
from fsr.autoencoders.families import family_of, split_tiny_decoder
from fsr.autoencoders.taef2 import Taef2

KL = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
}
NO_QUANT = {"use_quant_conv": False, "use_post_quant_conv": False}
KL_CHANNELS, TINY_CHANNELS = (512, 512, 512, 256, 128), (64,) * 5
SIDES_OF_512 = (64, 128, 256, 512, 512)  # features of a crop of 512 pixels


@dataclass(frozen=True)
class Published:
    """A published model: its class, its config.json, and what is to come out of it."""

    model: type[ModelMixin]
    config: dict
    latent_channels: int
    channels: tuple[int, ...] = KL_CHANNELS
    scale: float = 1.0
    shift: float = 0.0


PUBLISHED = {
    "FLUX.1": Published(
        AutoencoderKL,
        KL | NO_QUANT | {"latent_channels": 16, "scaling_factor": 0.3611, "shift_factor": 0.1159},
        latent_channels=16,
        scale=0.3611,
        shift=0.1159,
    ),
    "SD1": Published(AutoencoderKL, KL | {"latent_channels": 4}, latent_channels=4, scale=0.18215),
    "SDXL": Published(
        AutoencoderKL, KL | {"latent_channels": 4, "scaling_factor": 0.13025}, latent_channels=4, scale=0.13025
    ),
    "SD3": Published(
        AutoencoderKL,
        KL | NO_QUANT | {"latent_channels": 16, "scaling_factor": 1.5305, "shift_factor": 0.0609},
        latent_channels=16,
        scale=1.5305,
        shift=0.0609,
    ),
    "FLUX.2": Published(AutoencoderKLFlux2, {}, latent_channels=32),
    "FLUX.2, small decoder": Published(
        AutoencoderKLFlux2,
        {"decoder_block_out_channels": (96, 192, 384, 384)},
        latent_channels=32,
        channels=(384, 384, 384, 192, 96),
    ),
    "TAESD, TAESDXL": Published(AutoencoderTiny, {}, latent_channels=4, channels=TINY_CHANNELS),
    "TAEF1": Published(AutoencoderTiny, {"latent_channels": 16}, latent_channels=16, channels=TINY_CHANNELS),
    "TAEF2": Published(Taef2, {}, latent_channels=32, channels=TINY_CHANNELS),
}


@dataclass(frozen=True)
class Case:
    published: Published
    frozen: FrozenAutoencoder
    z: Tensor
    whole: Tensor  # what the model's own decode makes of z, in [0, 1]


@pytest.fixture(scope="module", params=PUBLISHED)
def case(request) -> Case:
    """One model at a time is in memory: pytest runs all tests of a parameter before the next."""
    published = PUBLISHED[request.param]
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = published.model(**published.config).eval()
    z = torch.randn(1, published.latent_channels, 2, 3, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        own = model.decode(z / published.scale + published.shift, return_dict=False)[0]
    assert own.isfinite().all()
    assert own.std() > 1e-3, "a constant image would hide differences"
    return Case(published, FrozenAutoencoder(model), z, own * 0.5 + 0.5)


@pytest.mark.parametrize("cut", CUTS)
def test_tail_after_head_is_the_models_own_decode_to_the_last_bit(case, cut):
    with torch.inference_mode():
        f = case.frozen.head(case.z, cut)
        assert tuple(f.shape[1:]) == case.frozen.feature_shape(cut, 16, 24)
        assert torch.equal(case.frozen.tail(f, cut), case.whole)


def test_decode_is_the_models_own(case):
    with torch.inference_mode():
        assert torch.equal(case.frozen.decode(case.z), case.whole)


def test_latents_are_scaled_means_and_nothing_is_drawn(case):
    x = torch.rand(1, 3, 16, 24, generator=torch.Generator().manual_seed(2))
    state = torch.get_rng_state()
    with torch.inference_mode():
        z = case.frozen.encode(x)
        expected = (unscaled_mean(case.frozen.model, x * 2 - 1) - case.published.shift) * case.published.scale
    assert torch.equal(torch.get_rng_state(), state)
    assert z.shape == (1, case.published.latent_channels, 2, 3)
    assert torch.allclose(z, expected, rtol=1e-5, atol=1e-5)
    assert z.std() > 1e-3


def unscaled_mean(model: ModelMixin, x: Tensor) -> Tensor:
    """From the model's modules: of the moments an AutoencoderKL gives, the first half is the mean."""
    if isinstance(model, Taef2):
        return model.encoder((x + 1) / 2)
    if isinstance(model, AutoencoderTiny):
        return model.encoder(x)
    moments = model.encoder(x)
    return (moments if model.quant_conv is None else model.quant_conv(moments)).chunk(2, dim=1)[0]


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("FLUX.1", ("conv_in", "up_blocks.0", "up_blocks.1", "up_blocks.2", "conv_act")),
        ("SDXL", ("conv_in", "up_blocks.0", "up_blocks.1", "up_blocks.2", "conv_act")),
        ("TAEF1", ("layers.1", "layers.6", "layers.11", "layers.16", "layers.17")),
        ("TAEF2", ("2", "7", "12", "17", "18")),
    ],
)
def test_cuts_lie_behind_the_stages_the_method_names(name, stages):
    """Of the tiny ones: the first activation, the convolutions behind enlargements, the last block."""
    published = PUBLISHED[name]
    with torch.device("meta"):
        model = published.model(**published.config)
    decoder = FrozenAutoencoder(model).decoder
    assert [decoder.cut(cut).stage for cut in CUTS] == [f"decoder.{stage}" for stage in stages]
    modules = dict(model.named_modules())
    for stage in decoder.stages:
        if stage.name in modules:
            assert stage.run is modules[stage.name], "a stage has the name its module has"


@pytest.mark.parametrize("name", PUBLISHED)
def test_features_of_a_crop_of_512_pixels_are_as_the_method_says(name):
    """On the meta device, where shapes are worked out and nothing is computed."""
    published = PUBLISHED[name]
    with torch.device("meta"), torch.inference_mode():
        frozen = FrozenAutoencoder(published.model(**published.config))
        z = frozen.encode(torch.empty(1, 3, 512, 512))
        assert z.shape == (1, published.latent_channels, 64, 64)
        assert (frozen.factor, frozen.latent_channels, frozen.cuts) == (8, published.latent_channels, CUTS)
        for cut, channels, side in zip(CUTS, published.channels, SIDES_OF_512, strict=True):
            f = frozen.head(z, cut)
            assert tuple(f.shape[1:]) == (channels, side, side) == frozen.feature_shape(cut, 512, 512)
            assert frozen.tail(f, cut).shape == (1, 3, 512, 512)


def test_with_an_enlargement_more_the_cuts_stay_behind_the_first_three():
    frozen = FrozenAutoencoder(tiny_model(widths=(8, 8, 16, 16, 24)))
    assert frozen.factor == 16
    shapes = [frozen.feature_shape(cut, 64, 64)[:2] for cut in CUTS]
    assert shapes == [(24, 4), (24, 8), (16, 16), (16, 32), (8, 64)]


@pytest.mark.parametrize("widths", [(8,), (8, 16), (8, 8, 16)])
def test_a_decoder_that_enlarges_fewer_than_three_times_is_refused(widths):
    with pytest.raises(ValueError, match="enlarges fewer than three times; choose an autoencoder with a factor of 8"):
        FrozenAutoencoder(tiny_model(widths=widths))


def test_a_tiny_decoder_that_enlarges_fewer_than_three_times_is_refused():
    model = AutoencoderTiny(num_decoder_blocks=(1, 1, 1), decoder_block_out_channels=(8, 8, 8))
    with pytest.raises(ValueError, match="enlarges fewer than three times"):
        split_tiny_decoder(model)


def test_a_model_of_another_class_is_refused():
    known = "AutoencoderKL, AutoencoderKLFlux2, AutoencoderTiny, TAEF2"
    with pytest.raises(ValueError, match=f"^VQModel is not an autoencoder FSR can split; choose one of {known}$"):
        family_of(VQModel())
