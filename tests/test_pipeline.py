"""Images in, larger images out: exact sizes, the method's pixels, precision, and what is refused."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from small_fields import moving_field, noise, save_models
from tiny_models import tiny_of

from fsr import pipeline
from fsr.autoencoders import FrozenAutoencoder, load_autoencoder
from fsr.config import Vae
from fsr.images import read_image, write_image
from fsr.loading import check_device, load_pipeline
from fsr.pipeline import ImagePipeline, reflected
from fsr.tiling import Tiling
from fsr.upscalers import Fsr, Sample

CASES = {  # family, cut, scale, patch: what sides must be multiples of
    ("AutoencoderKL", "f1", 2, 4): 16,
    ("AutoencoderKL", "f3", 4, 2): 8,
    ("AutoencoderKL", "f5", 3, 2): 8,
    ("TAEF2", "f4", 2, 1): 8,
}
WHOLE = Tiling(whole=True)


def vae_in(folder) -> Vae:
    place = {"path": str(folder), "subfolder": None, "revision": None, "dtype": "float32", "tile": None}
    return Vae(family="AutoencoderKL", **place)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return save_models(tmp_path_factory.mktemp("models"))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_output_is_exactly_scale_times_the_input_whatever_its_size(case):
    family, cut, scale, patch = case
    autoencoder = FrozenAutoencoder(tiny_of(family))
    enlarge = ImagePipeline(autoencoder, moving_field(autoencoder, cut, [scale], patch), scale, WHOLE)
    assert enlarge.multiple == CASES[case]

    @settings(max_examples=10, deadline=None)
    @given(height=st.integers(1, 45), width=st.integers(1, 45))
    def check(height, width):
        image = enlarge(noise(height, width))
        assert image.shape == (1, 3, scale * height, scale * width)
        assert image.isfinite().all()

    check()


@given(height=st.integers(17, 40), width=st.integers(17, 40), multiple=st.sampled_from([1, 8, 16]))
@settings(deadline=None)
def test_borders_to_the_right_and_below_are_continued_by_reflection(height, width, multiple):
    image = noise(height, width)
    right, below = (-width) % multiple, (-height) % multiple
    assert torch.equal(reflected(image, multiple), F.pad(image, (0, right, 0, below), mode="reflect"))


@torch.inference_mode()
def test_of_an_odd_size_only_the_continuation_is_cut_off(autoencoder):
    field = moving_field(autoencoder, "f4", [2])
    x_L = noise(21, 30)
    continued = F.pad(x_L, (0, 2, 0, 3), mode="reflect")
    expected = Fsr(field)(Sample(autoencoder, continued, 2)).image[..., :42, :60]
    assert torch.equal(ImagePipeline(autoencoder, field, 2, WHOLE)(x_L), expected)


@torch.inference_mode()
def test_latents_are_rendered_as_the_images_they_were_encoded_from(autoencoder):
    enlarge = ImagePipeline(autoencoder, moving_field(autoencoder, "f4", [2]), 2, WHOLE)
    x_L = torch.cat([noise(24, 40, seed) for seed in range(2)])
    together = enlarge.decode(autoencoder.encode(x_L))
    assert together.shape == (2, 3, 48, 80)
    assert torch.allclose(together, torch.cat([enlarge(x) for x in x_L.split(1)]), atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 4), (2, 7)])
def test_latents_whose_features_are_no_multiples_of_the_patch_are_continued(height, width):
    autoencoder = FrozenAutoencoder(tiny_of("AutoencoderKL"))
    enlarge = ImagePipeline(autoencoder, moving_field(autoencoder, "f1", [2], 4), 2, WHOLE)
    assert enlarge.multiple == 16
    z_L = torch.randn(1, 4, height, width)
    assert enlarge.decode(z_L).shape == (1, 3, 16 * height, 16 * width)


@pytest.mark.parametrize(
    ("latents", "message"),
    [
        (torch.zeros(1, 5, 4, 4), r"shape \(1, 5, 4, 4\) are not this autoencoder's, \(B, 4, h, w\); give those"),
        (torch.zeros(4, 4, 4), r"shape \(4, 4, 4\) are not"),
        (torch.full((1, 4, 4, 4), torch.nan), "latents are not all finite; generate them again"),
        (torch.full((1, 4, 4, 4), -torch.inf), "latents are not all finite"),
    ],
)
def test_latents_of_another_kind_are_refused(autoencoder, latents, message):
    enlarge = ImagePipeline(autoencoder, moving_field(autoencoder, "f4", [2]), 2, WHOLE)
    with pytest.raises(ValueError, match=message):
        enlarge.decode(latents)


def test_a_result_that_is_not_finite_is_an_error(autoencoder):
    field = moving_field(autoencoder, "f4", [2])
    with torch.no_grad():
        field.out_velocity.bias.fill_(torch.inf)
    with pytest.raises(ValueError, match=r"the result is not finite; compute in float32 or bfloat16 \(--dtype\)"):
        ImagePipeline(autoencoder, field, 2, WHOLE)(noise(16, 16))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_another_precision_is_the_autoencoders_and_leaves_the_field_as_it_is(models, dtype):
    expected = load_pipeline(models / "model", vae_in(models / "vae"), tiling=WHOLE)
    narrow = load_pipeline(models / "model", vae_in(models / "vae"), dtype=dtype, tiling=WHOLE)
    assert {value.dtype for value in narrow.field.parameters()} == {torch.float32}
    assert {str(value.dtype) for value in narrow.autoencoder.parameters()} == {f"torch.{dtype}"}
    assert torch.equal(narrow.field.feature_mean, expected.field.feature_mean)
    x_L = noise(24, 16)
    difference = (narrow(x_L) - expected(x_L)).abs()
    assert 0 < difference.mean() < 0.02
    assert narrow(x_L).dtype == torch.float32


def test_the_identity_changes_with_whatever_changes_pixels_and_with_nothing_else(models, tmp_path):
    vae = vae_in(models / "vae")
    one = load_pipeline(models / "model", vae)
    shutil.copytree(models, tmp_path / "elsewhere")
    moved = load_pipeline(tmp_path / "elsewhere/model", vae_in(tmp_path / "elsewhere/vae"), tiling=WHOLE)
    assert moved.identity == one.identity
    changed = load_pipeline(models / "model", vae)
    with torch.no_grad():
        changed.field.feature_mean[0] += 1e-3
    other = load_pipeline(models / "model", vae)
    with torch.no_grad():
        next(other.autoencoder.parameters())[0] += 1e-3
    narrow = load_pipeline(models / "model", vae, dtype="bfloat16")
    assert len({item.identity for item in (one, changed, other, narrow)}) == 4


def test_the_tiling_it_has_is_the_one_that_is_computed_in(models, monkeypatch):
    enlarge = replace(load_pipeline(models / "model", vae_in(models / "vae")), tiling=Tiling(rows=16))
    seen = []
    for name in ("encode", "upscale"):
        whole = getattr(pipeline.Renderer, name)
        spy = lambda self, *args, whole=whole: seen.append(args[-1]) or whole(self, *args[:-1])  # noqa: E731
        monkeypatch.setattr(pipeline.Renderer, name, spy)
    enlarge(noise(16, 16))
    enlarge.decode(torch.zeros(1, 4, 2, 2))
    assert seen == [Tiling(rows=16)] * 3


def test_a_device_or_a_precision_that_cannot_be_used_is_named(monkeypatch):
    with pytest.raises(ValueError, match="device 'abacus' cannot be used here; use cpu"):
        check_device("abacus")
    check_device("cpu", "bfloat16")

    def unable(*_):
        raise RuntimeError("not implemented for 'Half'")

    monkeypatch.setattr(F, "conv2d", unable)
    with pytest.raises(ValueError, match="device 'cpu' does not compute in float16; use float32"):
        check_device("cpu", "float16")


def test_a_checkpoint_alone_is_enough(tmp_path):
    """Nothing of the study is at hand but the two files of a trained field; the process is a new one."""
    moving_field(load_autoencoder(vae_in("embedded"), "cpu"), "f4", [2]).save_pretrained(tmp_path / "pulled")
    model = tmp_path / "elsewhere/model"
    model.mkdir(parents=True)
    for name in ("config.json", "diffusion_pytorch_model.safetensors"):
        shutil.copy(tmp_path / "pulled" / name, model / name)
    write_image(tmp_path / "elsewhere/a.png", noise(21, 33))
    command = [sys.executable, "-c", "from fsr.cli import main; main()", "upscale", "a.png", "gone.png", "-o", "out"]
    command += ["--model", "model"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=tmp_path / "elsewhere", env=environment, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1] == "error: 1 of 2 images failed: gone.png"
    assert read_image(tmp_path / "elsewhere/out/a.png").shape == (1, 3, 42, 66)
