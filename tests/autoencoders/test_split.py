"""The split decoder is the decoder, whatever the cut; what surrounds it is frozen, and scaled in one place."""

import pytest
import torch
from diffusers import AutoencoderKL
from tiny_models import tiny_model, tiny_of

from fsr.autoencoders import CUTS, Cut, FrozenAutoencoder, SplitDecoder, Stage, load_autoencoder, weights_sha256
from fsr.autoencoders.families import FAMILIES, split_kl_decoder
from fsr.config import Vae

EMBEDDED = Vae(family="AutoencoderKL", path="embedded", subfolder=None, revision=None, dtype="float32", tile=None)
THREE_STEPS = SplitDecoder(
    stages=(Stage("add", lambda x: x + 1), Stage("double", lambda x: x * 2), Stage("square", lambda x: x**2)),
    declared=(Cut("f1", "add", 3, 8), Cut("f2", "double", 3, 4)),
)


def kl_models() -> dict[str, AutoencoderKL]:
    return {
        "without quant convolutions": tiny_model(),
        "with quant convolutions, no shift": tiny_model(quant=True, shift=None),
        "other widths": tiny_model(widths=(8, 16, 24, 32)),
        "an enlargement more": tiny_model(widths=(8, 8, 16, 16, 24)),
    }


def noise(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_head_and_tail_are_the_stages_before_and_behind_a_cut():
    x = torch.arange(4.0)
    assert THREE_STEPS.cuts == ("f1", "f2")
    assert torch.equal(THREE_STEPS.run(x, stop=THREE_STEPS.position("f1")), x + 1)
    assert torch.equal(THREE_STEPS.run(x, start=THREE_STEPS.position("f1")), (x * 2) ** 2)
    assert torch.equal(THREE_STEPS.run(x, start=THREE_STEPS.position("f2")), x**2)
    assert torch.equal(THREE_STEPS.run(x), ((x + 1) * 2) ** 2)


def test_a_cut_behind_a_stage_that_is_not_there_is_refused():
    stages = split_kl_decoder(tiny_model()).stages
    with pytest.raises(
        ValueError, match=r"'decoder\.up_blocks\.7' is not .*its stages are decoder\.conv_in, .*conv_out"
    ):
        SplitDecoder(stages, (Cut("f1", "decoder.up_blocks.7", 8, 8),))


@pytest.mark.parametrize(
    "call",
    [
        lambda autoencoder: autoencoder.head(torch.zeros(1, 4, 2, 2), "f9"),
        lambda autoencoder: autoencoder.tail(torch.zeros(1, 16, 2, 2), "f9"),
        lambda autoencoder: autoencoder.feature_shape("f9", 16, 16),
    ],
)
def test_an_unknown_cut_lists_the_known_ones(autoencoder, call):
    with pytest.raises(ValueError, match="'f9' is not in this decoder; choose one of f1, f2, f3, f4, f5$"):
        call(autoencoder)


@pytest.mark.parametrize("name", kl_models())
@pytest.mark.parametrize("cut", CUTS)
def test_tail_after_head_is_decode_to_the_last_bit(name, cut):
    model = kl_models()[name]
    frozen = FrozenAutoencoder(model)
    z = noise(2, 4, 5, 7)
    with torch.inference_mode():
        shift = model.config.shift_factor or 0.0
        own = model.decode(z / model.config.scaling_factor + shift, return_dict=False)[0]
        f = frozen.head(z, cut)
        assert tuple(f.shape[1:]) == frozen.feature_shape(cut, 5 * frozen.factor, 7 * frozen.factor)
        assert torch.equal(frozen.tail(f, cut), own * 0.5 + 0.5)
        assert torch.equal(frozen.decode(z), own * 0.5 + 0.5)


@pytest.mark.parametrize("cut", CUTS)
def test_the_embedded_autoencoder_splits_exactly(cut):
    frozen = load_autoencoder(EMBEDDED, "cpu")
    config, z = frozen.model.config, noise(1, frozen.latent_channels, 6, 4)
    with torch.inference_mode():
        whole = frozen.model.decode(z / config.scaling_factor + config.shift_factor).sample * 0.5 + 0.5
        assert torch.equal(frozen.tail(frozen.head(z, cut), cut), whole)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("cut", CUTS)
def test_the_tail_leaves_its_features_alone_and_passes_gradients_to_them_only(family, cut):
    frozen = FrozenAutoencoder(tiny_of(family))
    f = frozen.head(noise(1, 4, 2, 3), cut).requires_grad_()
    before = f.detach().clone()
    frozen.tail(f, cut).square().sum().backward()
    assert torch.equal(f, before)
    assert f.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in frozen.parameters())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("cut", CUTS)
def test_half_precision_weights_take_float32_features(family, cut):
    """As a field computes them; they are rounded to what the head itself would have given."""
    frozen = FrozenAutoencoder(tiny_of(family).to(torch.bfloat16))
    z = noise(1, 4, 2, 3)
    with torch.inference_mode():
        f = frozen.head(z, cut)
        assert f.dtype == torch.bfloat16
        assert torch.equal(frozen.tail(f.float(), cut), frozen.decode(z))
        assert frozen.decode(z).dtype == torch.float32


@pytest.mark.parametrize("cut", CUTS)
def test_under_autocast_the_split_is_exact_too(autoencoder, cut):
    z = noise(1, 4, 2, 3)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(autoencoder.tail(autoencoder.head(z, cut), cut), autoencoder.decode(z))


def test_latents_are_scaled_and_shifted_in_one_place():
    model = tiny_model()
    frozen = FrozenAutoencoder(model)
    x = torch.rand(1, 3, 16, 24, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        mean = model.encode(x * 2 - 1).latent_dist.mean
        assert torch.allclose(frozen.encode(x), (mean - 0.1) * 0.4, atol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(16, 20), (12, 16)])
def test_sides_that_are_no_multiple_are_refused(autoencoder, height, width):
    with pytest.raises(ValueError, match=f"{width}x{height} must be cropped to multiples of 8"):
        autoencoder.encode(torch.zeros(1, 3, height, width))


def test_it_stays_frozen_and_in_eval_mode(autoencoder):
    assert not any(module.training for module in autoencoder.train().modules())
    assert not any(parameter.requires_grad for parameter in autoencoder.parameters())


def test_the_hash_is_that_of_the_weights_and_the_scaling_however_they_lie_in_memory():
    reference = weights_sha256(FrozenAutoencoder(tiny_model()))
    assert weights_sha256(FrozenAutoencoder(tiny_model().to(memory_format=torch.channels_last))) == reference
    moved = tiny_model()
    moved.decoder.conv_out.bias.data[0] += 1e-3
    assert weights_sha256(FrozenAutoencoder(moved)) != reference
    assert weights_sha256(FrozenAutoencoder(tiny_model(shift=0.2))) != reference
