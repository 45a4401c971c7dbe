"""The split decoder is the decoder, whatever the cut."""

import pytest
import torch
from conftest import tiny_model
from diffusers import AutoencoderKL

from fsr.autoencoders import CUTS, FrozenAutoencoder, SplitDecoder, load_autoencoder
from fsr.autoencoders.split import split_kl_decoder
from fsr.config import Vae

EMBEDDED = Vae(**{"class": "AutoencoderKL"}, path="embedded", subfolder=None, revision=None, dtype="float32")


def families() -> dict[str, AutoencoderKL]:
    return {
        "flux-like": tiny_model(),
        "sd-like, with quant convolutions": tiny_model(quant=True, shift=None),
        "other widths": tiny_model(widths=(8, 16, 24, 32)),
    }


@pytest.mark.parametrize("name", families())
@pytest.mark.parametrize("cut", CUTS)
def test_tail_after_head_is_decode_to_the_last_bit(name, cut):
    model = families()[name]
    frozen = FrozenAutoencoder(model)
    z = torch.randn(2, 4, 5, 7, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        shift = model.config.shift_factor or 0.0
        own = model.decode(z / model.config.scaling_factor + shift, return_dict=False)[0]
        assert torch.equal(frozen.tail(frozen.head(z, cut), cut), own * 0.5 + 0.5)
        assert torch.equal(frozen.decode(z), own * 0.5 + 0.5)


@pytest.mark.parametrize("cut", CUTS)
def test_the_embedded_autoencoder_splits_exactly(cut):
    frozen = load_autoencoder(EMBEDDED, "cpu")
    z = torch.randn(1, frozen.latent_channels, 6, 4, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        whole = frozen.model.decode(z / frozen._scale + frozen._shift).sample * 0.5 + 0.5
        assert torch.equal(frozen.tail(frozen.head(z, cut), cut), whole)


@pytest.mark.parametrize("name", families())
@pytest.mark.parametrize("cut", CUTS)
def test_feature_shape_is_that_of_the_head(name, cut):
    frozen = FrozenAutoencoder(families()[name])
    with torch.inference_mode():
        f = frozen.head(torch.zeros(1, 4, 3, 2), cut)
    assert tuple(f.shape[1:]) == frozen.feature_shape(cut, 24, 16)


def test_latents_are_scaled_and_shifted_in_one_place():
    model = tiny_model()
    frozen = FrozenAutoencoder(model)
    x = torch.rand(1, 3, 16, 24, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        mean = model.encode(x * 2 - 1).latent_dist.mode()
        assert torch.allclose(frozen.encode(x), (mean - 0.1) * 0.4, atol=1e-6)


def test_an_unknown_cut_lists_the_known_ones(autoencoder):
    with pytest.raises(ValueError, match="f9.*choose one of f1, f2, f3, f4, f5"):
        autoencoder.head(torch.zeros(1, 4, 2, 2), "f9")


def test_a_cut_behind_a_stage_that_is_not_there_is_refused():
    stages = split_kl_decoder(tiny_model()).stages
    with pytest.raises(ValueError, match=r"decoder\.up_blocks\.7.*its stages are decoder\.conv_in"):
        SplitDecoder(stages, {"f1": "decoder.up_blocks.7"})


def test_sides_that_are_no_multiple_are_refused(autoencoder):
    with pytest.raises(ValueError, match="20x16 must be cropped to multiples of 8"):
        autoencoder.encode(torch.zeros(1, 3, 16, 20))


def test_it_stays_frozen_and_in_eval_mode(autoencoder):
    assert not autoencoder.train().training
    assert not any(p.requires_grad for p in autoencoder.parameters())


def test_a_path_that_is_not_there_names_the_remedy(tmp_path):
    with pytest.raises(FileNotFoundError, match="give 'embedded', a local folder"):
        load_autoencoder(EMBEDDED.model_copy(update={"path": str(tmp_path / "none")}), "cpu")


def test_a_local_folder_is_loaded(tmp_path):
    model = tiny_model()
    model.save_pretrained(tmp_path / "vae")
    frozen = load_autoencoder(EMBEDDED.model_copy(update={"path": str(tmp_path), "subfolder": "vae"}), "cpu")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), frozen.model.parameters(), strict=True))
