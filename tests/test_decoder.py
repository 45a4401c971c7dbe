"""The drop-in decoder: pipelines come out larger by FSR's own pixels, only for the VAE it was trained for."""

import json
import math

import accelerate
import pytest
import tiny_flux
import torch
import torch.nn.functional as F
from accelerate.hooks import CpuOffload, add_hook_to_module, remove_hook_from_module
from diffusers import (
    DDIMScheduler,
    FluxImg2ImgPipeline,
    FluxPipeline,
    ModelMixin,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from diffusers.utils import logging
from huggingface_hub import constants
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from small_fields import moving_field
from tiny_models import tiny_model, tiny_of
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from fsr import pipeline
from fsr.autoencoders import FrozenAutoencoder
from fsr.autoencoders.families import FAMILIES
from fsr.config import Vae
from fsr.decoder import FSRDecoder
from fsr.provenance import write_provenance
from fsr.tiling import Tiling
from fsr.upscalers import Fsr, Sample

WEIGHTS = "diffusion_pytorch_model.safetensors"


def vae_section(family: str = "AutoencoderKL", path: str = "owner/vae") -> Vae:
    return Vae(family=family, path=path, subfolder=None, revision=None, dtype="float32", tile=None)


def decoder_for(vae: ModelMixin, family: str = "AutoencoderKL", cut: str = "f4", patch: int = 2) -> FSRDecoder:
    """A decoder with a random field for a VAE, not attached."""
    frozen = FrozenAutoencoder(vae)
    field = moving_field(frozen, cut, [2, 4], patch)
    torch.nn.init.normal_(field.body[0].out.weight, std=0.3)  # or the embedding of the scale moved nothing
    return FSRDecoder.from_field(field, frozen, vae_section(family))


def latents(height: int = 4, width: int = 6, batch: int = 1, channels: int = 4) -> torch.Tensor:
    """Latents as a VAE itself has them."""
    return torch.randn(batch, channels, height, width, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def images_of_fsr(decoder: FSRDecoder, vae: ModelMixin, z: torch.Tensor, scale: int = 2) -> torch.Tensor:
    """What the benchmark's row makes of a VAE's latents, in [-1, 1]."""
    frozen = FrozenAutoencoder(vae)
    sample = Sample(frozen, torch.empty(len(z), 3, 8 * z.shape[-2], 8 * z.shape[-1], device="meta"), scale)
    sample.z_L = frozen.scaled(z)
    return Fsr(decoder.field)(sample).image * 2 - 1


def assert_same(one: FSRDecoder, other: FSRDecoder, z: torch.Tensor) -> None:
    """The same weights, to the bit, and the same images."""
    weights = one.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in other.state_dict().items())
    torch.testing.assert_close(one.decode(z).sample, other.decode(z).sample, atol=1e-5, rtol=1e-5)


@pytest.fixture(scope="module")
def flux(tmp_path_factory) -> FluxPipeline:
    folder = tmp_path_factory.mktemp("flux")
    tiny_flux.save_tiny_flux(folder)
    pipe = FluxPipeline.from_pretrained(folder, use_safetensors=True)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture
def flux_with_decoder(flux):
    """The pipeline with a decoder in the VAE's place, and the VAE."""
    vae = flux.vae
    flux.vae = decoder_for(vae).attach(vae)
    yield flux, vae
    flux.vae = vae.to(torch.float32)
    flux.to(torch.float32)


def stable_diffusion(large: bool) -> StableDiffusionPipeline | StableDiffusionXLPipeline:
    """A pipeline of Stable Diffusion's structure, or SDXL's, with random weights."""
    torch.manual_seed(0)
    tokenizer = tiny_flux._clip_tokenizer()
    width = {"hidden_size": 32, "intermediate_size": 32, "projection_dim": 32}
    text = CLIPTextConfig(vocab_size=len(tokenizer), num_hidden_layers=2, num_attention_heads=2, **width)
    text.bos_token_id, text.eos_token_id, text.pad_token_id = (
        tokenizer.bos_token_id,
        tokenizer.eos_token_id,
        tokenizer.pad_token_id,
    )
    added = {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 32 + 6 * 8,
    }
    unet = UNet2DConditionModel(
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=64 if large else 32,
        attention_head_dim=8,
        norm_num_groups=4,
        **(added if large else {}),
    )
    parts = {
        "vae": tiny_model(quant=True, shift=None),
        "unet": unet,
        "scheduler": DDIMScheduler(steps_offset=1, clip_sample=False),
    }
    parts |= {"text_encoder": CLIPTextModel(text), "tokenizer": tokenizer}
    if large:
        second = {"text_encoder_2": CLIPTextModelWithProjection(text), "tokenizer_2": tokenizer}
        pipe = StableDiffusionXLPipeline(**parts, **second, add_watermarker=False)
    else:
        rest = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
        pipe = StableDiffusionPipeline(**parts, **rest)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("cut", "scale"), [("f1", 4), ("f3", 2), ("f5", 2)])
def test_what_is_decoded_are_the_pixels_of_the_benchmarks_row(family, cut, scale):
    vae = tiny_of(family)
    decoder = decoder_for(vae, family, cut).attach(vae, scale=scale)
    z = latents(2, 3, batch=2)
    found = decoder.decode(z, return_dict=False)[0]
    torch.testing.assert_close(found, images_of_fsr(decoder, vae, z, scale), atol=1e-5, rtol=1e-5)
    assert torch.equal(decoder(z).sample, found)
    plain = vae.decode(z, return_dict=False)[0]
    assert found.shape[-2:] == (scale * plain.shape[-2], scale * plain.shape[-1])
    assert (F.interpolate(plain, scale_factor=scale, mode="bicubic") - found).abs().mean() > 1e-3, "the field moves it"


def test_the_output_is_exactly_scale_times_the_vaes_whatever_the_latents_size():
    vae = tiny_model()
    decoder = decoder_for(vae, cut="f1", patch=4).attach(vae)

    @settings(max_examples=12, deadline=None)
    @given(height=st.integers(1, 5), width=st.integers(1, 5), scale=st.sampled_from([2, 4]))
    def check(height, width, scale):
        decoder.scale = scale
        found = decoder.decode(latents(height, width)).sample
        assert found.shape == (1, 3, scale * 8 * height, scale * 8 * width)
        assert found.isfinite().all()

    check()


def test_of_latents_that_do_not_suit_the_patch_only_the_continuation_is_cut_off():
    vae = tiny_model()
    decoder = decoder_for(vae, cut="f1", patch=4).attach(vae)
    z = latents(3, 4)
    expected = images_of_fsr(decoder, vae, F.pad(z, (0, 0, 0, 1), mode="reflect"))[..., :48, :]
    torch.testing.assert_close(decoder.decode(z).sample, expected, atol=1e-5, rtol=1e-5)


def test_a_flux_pipeline_comes_out_at_the_decoders_scale_and_nothing_is_encoded(flux_with_decoder, monkeypatch):
    pipe, vae = flux_with_decoder
    monkeypatch.setattr(type(vae), "encode", lambda *_: pytest.fail("encoded"))

    def run(**options):
        noise = torch.Generator().manual_seed(3)
        size = {"height": 32, "width": 48, "num_inference_steps": 1, "max_sequence_length": 8}
        return pipe("a house", generator=noise, **size, **options).images

    packed = run(output_type="latent")
    z = pipe._unpack_latents(packed, 32, 48, pipe.vae_scale_factor)
    z = z / vae.config.scaling_factor + vae.config.shift_factor
    expected = images_of_fsr(pipe.vae, vae, z) / 2 + 0.5
    found = run(output_type="pt")
    assert found.shape == (1, 3, 64, 96)
    torch.testing.assert_close(found, expected.clamp(0, 1), atol=1e-5, rtol=1e-5)
    assert run()[0].size == (96, 64)
    pipe.vae.scale = 4
    assert run()[0].size == (192, 128)


def test_a_pipelines_own_sizes_are_unharmed(flux_with_decoder):
    pipe, vae = flux_with_decoder
    again = FluxPipeline(**pipe.components)
    for key in ("block_out_channels", "scaling_factor", "shift_factor", "latent_channels", "force_upcast"):
        assert pipe.vae.config[key] == getattr(pipe.vae.config, key) == vae.config[key]
    assert again.vae_scale_factor == pipe.vae_scale_factor == 8
    assert again.image_processor.config.vae_scale_factor == 16
    assert pipe.vae.config.cut == "f4", "its own are there too"
    with pytest.raises(AttributeError):
        pipe.vae.no_such_thing  # noqa: B018


def test_a_pipeline_is_saved_with_its_decoder_and_goes_on_once_that_has_a_vae(flux_with_decoder, tmp_path):
    pipe, vae = flux_with_decoder
    pipe.save_pretrained(tmp_path)
    again = FluxPipeline.from_pretrained(tmp_path, use_safetensors=True)
    assert again.vae_scale_factor == 8
    with pytest.raises(ValueError, match="no VAE yet"):
        again.vae.decode(latents(channels=16))
    assert_same(again.vae.attach(vae), pipe.vae, latents(channels=16))


def test_image_to_image_encodes_as_the_vae_does(flux_with_decoder):
    pipe, vae = flux_with_decoder
    edit = FluxImg2ImgPipeline(**pipe.components)
    edit.set_progress_bar_config(disable=True)
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    options = {"num_inference_steps": 2, "strength": 0.5, "max_sequence_length": 8, "height": 32, "width": 32}
    assert edit("a house", image=image, **options).images[0].size == (64, 64)
    found, expected = (each.encode(image).latent_dist.mode() for each in (edit.vae, vae))
    assert torch.equal(found, expected)


@pytest.mark.parametrize("large", [False, True], ids=["SD", "SDXL"])
def test_stable_diffusion_comes_out_larger(large):
    pipe = stable_diffusion(large)
    vae = pipe.vae
    pipe.vae = decoder_for(vae).attach(vae)
    options = {"height": 32, "width": 32, "num_inference_steps": 1, "output_type": "pt"}

    def run(**more):
        return pipe("a house", generator=torch.Generator().manual_seed(0), **options | more).images

    z = run(output_type="latent") / vae.config.scaling_factor
    expected = (images_of_fsr(pipe.vae, vae, z) / 2 + 0.5).clamp(0, 1)
    assert expected.shape == (1, 3, 64, 64)
    torch.testing.assert_close(run(), expected, atol=1e-5, rtol=1e-5)
    if large:  # its VAE overflows in float16: the pipeline decodes in float32, and casts back
        pipe.vae.to(torch.float16)
        half = vae.state_dict()["decoder.conv_in.weight"].clone()
        torch.testing.assert_close(run(), expected, atol=0.02, rtol=0)
        assert pipe.vae.dtype == vae.dtype == half.dtype == torch.float16


def test_only_the_field_is_a_part_of_it_and_is_saved(tmp_path):
    vae = tiny_model()
    decoder = decoder_for(vae).attach(vae)
    names = {f"field.{name}" for name in decoder.field.state_dict()}
    assert set(decoder.state_dict()) == names
    assert decoder.num_parameters() == decoder.field.num_parameters()
    decoder.save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "config.json", WEIGHTS]
    assert set(load_file(tmp_path / WEIGHTS)) == names
    config = json.loads((tmp_path / "config.json").read_text())
    assert "block_out_channels" not in config
    assert config["cut"] == "f4" and config["scales"] == [2, 4]
    assert config["base_vae"] == {"class": "AutoencoderKL", "path": "owner/vae", "subfolder": None, "revision": None}
    again = FSRDecoder.from_pretrained(tmp_path, use_safetensors=True, torch_dtype=torch.bfloat16).attach(tiny_model())
    assert_same(again, decoder, latents())
    with pytest.raises(ValueError, match="safetensors only"):
        decoder.save_pretrained(tmp_path, safe_serialization=False)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_vae_in_half_precision_is_recognised_and_the_field_stays_in_float32(dtype):
    decoder, exact = decoder_for(tiny_model()), tiny_model()
    vae = tiny_model().to(dtype)
    found = decoder.attach(vae).decode(latents().to(dtype)).sample
    assert found.dtype == decoder.dtype == dtype
    assert {value.dtype for value in decoder.state_dict().values()} == {torch.float32}
    assert (found.float() - images_of_fsr(decoder, exact, latents())).abs().mean() < 0.02
    decoder.to(torch.float32)
    assert vae.dtype == decoder.dtype == torch.float32
    decoder.attach(vae)  # rounded, but as this dtype rounds them
    vae.decoder.conv_in.weight.data[0, 0] += 1
    with pytest.raises(ValueError, match="other weights"):
        decoder.attach(vae)


def test_a_pipeline_that_is_cast_casts_the_vae_and_not_the_field(flux_with_decoder):
    pipe, vae = flux_with_decoder
    before = {name: value.clone() for name, value in pipe.vae.state_dict().items()}
    pipe.to(torch.bfloat16)
    assert pipe.vae.dtype == vae.dtype == torch.bfloat16
    assert all(torch.equal(value, before[name]) for name, value in pipe.vae.state_dict().items())
    images = pipe("a house", height=16, width=16, num_inference_steps=1, max_sequence_length=8).images
    assert images[0].size == (32, 32)


def test_the_vae_is_where_the_field_is():
    vae = tiny_model()
    decoder = decoder_for(vae).attach(vae).to("meta")
    assert {value.device.type for value in (vae.state_dict() | decoder.state_dict()).values()} == {"meta"}


def test_a_decoder_stays_without_a_vae_it_is_not_for():
    decoder = decoder_for(tiny_model())
    with pytest.raises(ValueError, match="shift_factor .*attach to owner/vae"):
        decoder.attach(tiny_model(shift=0.2))
    with pytest.raises(ValueError, match="no VAE yet"):
        decoder.decode(latents())


def test_scales_are_those_the_field_was_trained_for():
    vae = tiny_model()
    decoder = decoder_for(vae)
    with pytest.raises(ValueError, match="scale 3 .* choose one of \\[2, 4\\]"):
        decoder.attach(vae, scale=3)
    assert decoder.attach(vae, scale=4).scale == 4
    assert decoder.attach(decoder).scale == 2, "a decoder may take another's place"
    assert decoder.vae is vae


def test_the_vae_moves_with_it_when_a_pipeline_offloads_models(monkeypatch):
    vae = tiny_model()
    decoder = decoder_for(vae).attach(vae)
    expected = decoder.decode(latents()).sample
    moves = []
    monkeypatch.setattr(vae, "_apply", lambda fn, *_: moves.append(fn(torch.zeros(1)).device.type))
    _, hook = accelerate.cpu_offload_with_hook(decoder, "cpu")
    assert moves and set(moves) == {"cpu"}
    moves.clear()
    found = decoder.decode(latents()).sample
    assert len(moves) == 1, "onto the device before it decodes"
    decoder.encode(torch.zeros(1, 3, 16, 16))
    assert len(moves) == 2, "and before it encodes"
    hook.offload()
    assert len(moves) == 3, "and off it"
    assert torch.equal(found, expected)


def test_a_pipeline_offloads_its_models_again_after_each_run(flux_with_decoder):
    pipe, vae = flux_with_decoder
    options = {"height": 16, "width": 16, "num_inference_steps": 1, "max_sequence_length": 8, "output_type": "pt"}
    runs = [pipe("a", generator=torch.Generator().manual_seed(0), **options).images]
    pipe.enable_model_cpu_offload(device="cpu")
    runs += [pipe("a", generator=torch.Generator().manual_seed(0), **options).images for _ in range(2)]
    assert hasattr(pipe.vae, "_hf_hook") and not hasattr(vae, "_hf_hook")
    pipe.remove_all_hooks()
    for run in runs[1:]:  # the pipeline rounds otherwise when its models are moved, with or without a decoder
        torch.testing.assert_close(run, runs[0], atol=1e-5, rtol=1e-5)


def test_a_vae_that_is_offloaded_itself_is_refused_with_the_remedy():
    vae = tiny_model()
    decoder = decoder_for(vae)
    add_hook_to_module(vae, CpuOffload("cpu"))
    with pytest.raises(ValueError, match="remove_all_hooks"):
        decoder.attach(vae)
    remove_hook_from_module(vae)
    decoder.attach(vae)
    accelerate.cpu_offload(decoder, "cpu")
    with pytest.raises(ValueError, match="enable_model_cpu_offload"):
        decoder.decode(latents())
    with pytest.raises(ValueError, match="group offloading"):
        decoder_for(tiny_model()).enable_group_offload(onload_device=torch.device("cpu"))


def test_tiling_is_exact_and_as_it_was_asked_for(flux_with_decoder, monkeypatch):
    pipe, _ = flux_with_decoder
    decoder, z, asked = pipe.vae, latents(6, 4, channels=16), []
    upscale = pipeline.Renderer.upscale

    def noted(self, latents, scale, tiling):
        asked.append((len(latents), tiling))
        return upscale(self, latents, scale, tiling)

    monkeypatch.setattr(pipeline.Renderer, "upscale", noted)
    whole = decoder.decode(z).sample
    decoder.enable_tiling(rows=16)
    strips = decoder.decode(z).sample
    decoder.enable_tiling(memory="64GB")
    decoder.decode(z)
    decoder.enable_tiling()
    decoder.decode(z)
    decoder.disable_tiling()
    decoder.enable_slicing()
    sliced = decoder.decode(torch.cat([z, -z])).sample
    asked_for = [Tiling(), *(Tiling(**kind, whole=False) for kind in ({"rows": 16}, {"memory": 64 * 2**30}, {}))]
    asked_for += [Tiling()] * 2
    assert asked == [(1, tiling) for tiling in asked_for]
    torch.testing.assert_close(strips, whole, atol=1e-4, rtol=1e-4)
    assert torch.equal(sliced[:1], whole)


def test_flags_set_before_and_after_hold_for_the_encoder_too():
    vae, image = tiny_model(), torch.zeros(1, 3, 16, 16)
    vae.enable_tiling()
    decoder = decoder_for(vae).attach(vae)
    assert decoder.use_tiling and not decoder.use_slicing
    decoder.disable_tiling()
    decoder.enable_slicing()
    decoder.encode(image)
    assert (vae.use_tiling, vae.use_slicing) == (False, True)


def test_an_encoder_without_tiles_says_so(caplog):
    vae = tiny_of("TAEF2")
    decoder = decoder_for(vae, "TAEF2").attach(vae)
    decoder.encode(torch.zeros(1, 3, 16, 16))
    decoder.enable_tiling()
    logging.enable_propagation()
    decoder.encode(torch.zeros(1, 3, 16, 16))
    logging.disable_propagation()
    assert "Taef2" in caplog.text and "use_tiling" in caplog.text


def test_gradients_are_refused():
    vae = tiny_model()
    decoder = decoder_for(vae).attach(vae)
    z = latents().requires_grad_()
    with pytest.raises(ValueError, match="no gradients"):
        decoder.decode(z)
    with torch.no_grad():
        assert not decoder.decode(z).sample.is_inference()


def test_what_is_no_whole_decoder_is_refused(tmp_path):
    vae = tiny_model()
    decoder = decoder_for(vae)
    with pytest.raises(FileNotFoundError, match="fsr publish") as missing:
        FSRDecoder.from_pretrained(tmp_path / "nowhere/there", use_safetensors=True)
    assert "\n" not in str(missing.value)
    decoder.field.save_pretrained(tmp_path / "field")
    with pytest.raises(ValueError, match="VectorField"):
        FSRDecoder.from_pretrained(tmp_path / "field", use_safetensors=True)
    decoder.save_pretrained(tmp_path / "decoder")
    config = json.loads((tmp_path / "decoder/config.json").read_text())
    config["statistics"]["mean"][0] += 0.5
    (tmp_path / "decoder/config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="other feature statistics"):
        FSRDecoder.from_pretrained(tmp_path / "decoder", use_safetensors=True)
    (tmp_path / "decoder" / WEIGHTS).write_bytes(b"damaged")
    with pytest.raises(FileNotFoundError, match="no whole FSRDecoder"):
        FSRDecoder.from_pretrained(tmp_path / "decoder", use_safetensors=True)


def test_it_is_read_from_the_hubs_cache_without_a_network(tmp_path, monkeypatch):
    vae = tiny_model()
    decoder = decoder_for(vae).attach(vae)
    repository, commit = tmp_path / "models--owner--fsr", "0" * 40
    decoder.save_pretrained(repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    again = FSRDecoder.from_pretrained("owner/fsr", cache_dir=tmp_path, use_safetensors=True).attach(vae)
    assert_same(again, decoder, latents())
    with pytest.raises(FileNotFoundError, match="unset HF_HUB_OFFLINE"):
        FSRDecoder.from_pretrained("owner/other", cache_dir=tmp_path, use_safetensors=True)


@pytest.mark.parametrize("trained_in", ["float32", "bfloat16"])
def test_it_is_made_of_what_a_study_leaves(tmp_path, values, trained_in):
    tiny_model().save_pretrained(tmp_path / "vae")
    values["vae"] |= {"path": str(tmp_path / "vae"), "dtype": trained_in}
    dtype = getattr(torch, trained_in)
    field = moving_field(FrozenAutoencoder(tiny_model().to(dtype)), "f4", [2])
    train = tmp_path / "results/train"
    field.save_pretrained(train / "model")
    about = {"outputs": [train / "model"], "params": values, "wildcards": {}, "threads": 1, "inputs": []}
    write_provenance(train / "provenance.json", rule="train_field", repository=tmp_path, **about)
    decoder = FSRDecoder.from_study(tmp_path / "results")
    base = decoder.load_base()
    assert base.model.dtype == torch.float32
    found = decoder.attach(tiny_model()).decode(latents()).sample
    torch.testing.assert_close(found, images_of_fsr(decoder, base.model, latents()), atol=1e-5, rtol=1e-5)
    other = tiny_model()
    other.encoder.conv_in.bias.data += 1
    other.save_pretrained(tmp_path / "vae")
    with pytest.raises(ValueError, match="other weights"):
        decoder.load_base()
    with pytest.raises(ValueError, match="another autoencoder"):
        FSRDecoder.from_study(tmp_path / "results")
    with pytest.raises(FileNotFoundError, match="no trained field"):
        FSRDecoder.from_study(tmp_path)


def test_the_fields_coordinates_survive_a_move_to_the_last_bit():
    vae = tiny_model()
    decoder = decoder_for(vae).attach(vae)
    before = decoder.field.feature_mean.clone()
    assert not math.isclose(before[0].item(), before[0].bfloat16().item(), rel_tol=1e-6)
    assert torch.equal(decoder.to(torch.bfloat16).to(torch.float32).field.feature_mean, before)
