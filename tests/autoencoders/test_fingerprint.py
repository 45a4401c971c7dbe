"""By what a VAE is recognised: all that decides its pixels, and nothing else."""

from typing import Any

import pytest
import tiny_flux
import torch
from accelerate.hooks import CpuOffload, add_hook_to_module, remove_hook_from_module
from diffusers import ModelMixin
from tiny_models import tiny_model, tiny_of

from fsr.autoencoders.fingerprint import architecture_of, check_vae, fingerprint_of, is_away, name_of, weights_hash
from fsr.precision import DTYPES


def named(vae: ModelMixin, path: str = "owner/vae", **place: str) -> dict[str, Any]:
    """What a decoder for a VAE says of it."""
    return {
        "cut": "f4",
        "network": {"channels": 8},
        "base_vae": {"class": type(vae).__name__, "path": path, "subfolder": None, "revision": None} | place,
        "architecture": architecture_of(vae),
        "fingerprint": fingerprint_of(vae),
    }


def other_vae(change: str) -> ModelMixin:
    """A VAE that differs from `tiny_model()` in one thing."""
    torch.manual_seed(0)
    match change:
        case "of class AutoencoderTiny":
            return tiny_of("AutoencoderTiny")
        case "latent channels":
            return tiny_flux._autoencoder()
        case "channels at f4":
            return tiny_model(widths=(8, 12, 16, 16))
        case "shift_factor":
            return tiny_model(shift=0.2)
        case "norm_num_groups":
            return type(tiny_model()).from_config(tiny_model().config | {"norm_num_groups": 2})
    vae = tiny_model()
    bias = vae.encoder.conv_in.bias.data
    bias[0] = torch.nextafter(bias[0], torch.tensor(1.0))  # the least there is, which half precision would not see
    return vae


CHANGES = (
    *("of class AutoencoderTiny", "latent channels", "channels at f4", "shift_factor", "norm_num_groups"),
    "other weights",
)


@pytest.mark.parametrize("change", CHANGES)
def test_another_vae_is_refused_in_one_line_that_says_what_differs(change):
    with pytest.raises(ValueError, match=change) as refused:
        check_vae(other_vae(change), named(tiny_model()))
    assert "\n" not in str(refused.value) and "attach to owner/vae" in str(refused.value)


def test_a_class_nobody_knows_is_refused():
    config = named(tiny_model())
    with pytest.raises(ValueError, match="is of class AutoencoderKL, not OfTomorrow"):
        check_vae(tiny_model(), config | {"base_vae": config["base_vae"] | {"class": "OfTomorrow"}})


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_vae_is_recognised_in_each_dtype(dtype):
    vae = tiny_model().to(DTYPES[dtype])
    check_vae(vae, named(tiny_model()))
    check_vae(vae.to(torch.float32), named(tiny_model()))  # rounded, but as that dtype rounds them
    vae.decoder.conv_in.weight.data[0, 0] += 1
    with pytest.raises(ValueError, match="other weights, in torch.float32"):
        check_vae(vae, named(tiny_model()))


def test_what_does_not_change_its_pixels_does_not_matter():
    vae = tiny_model()
    vae.register_to_config(sample_size=1024, force_upcast=False, new_of_a_later_version=None)
    check_vae(vae, named(tiny_model()))


def test_weights_are_hashed_by_name_and_shape():
    vae = tiny_model()
    before = weights_hash(vae, torch.float32)
    bias, kernel = vae.encoder.conv_in.bias, vae.encoder.conv_in.weight
    assert before == weights_hash(tiny_model(), torch.float32)
    bias.data = bias.data.flip(0)
    assert len(bias) > 1 and before != weights_hash(vae, torch.float32)
    bias.data, kernel.data = bias.data.flip(0), kernel.data.reshape(kernel.shape[1], kernel.shape[0], 3, 3)
    assert before != weights_hash(vae, torch.float32)


def test_a_vae_in_pieces_is_refused_with_the_remedy():
    vae = tiny_model()
    add_hook_to_module(vae, CpuOffload("cpu"))
    with pytest.raises(ValueError, match="being offloaded; attach before"):
        check_vae(vae, named(tiny_model()))
    remove_hook_from_module(vae)
    check_vae(vae, named(tiny_model()))
    assert not is_away(vae)
    vae.decoder.conv_in.to("meta")
    assert is_away(vae)
    with pytest.raises(ValueError, match="being offloaded"):
        check_vae(vae, named(tiny_model()))


def test_its_name_says_where_it_is():
    vae = tiny_model()
    assert name_of(named(vae)) == "owner/vae"
    assert name_of(named(vae, subfolder="vae", revision="main")) == "owner/vae, subfolder vae, revision main"
