"""TAEF2: measured with its published weights on public images, and in its parts with random ones."""

import inspect
import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny
from tiny_models import tiny_of

from fsr.autoencoders import FrozenAutoencoder, load_autoencoder
from fsr.autoencoders.loading import TAEF2_FILES
from fsr.autoencoders.taef2 import DECODER_FILE, ENCODER_FILE, Taef2
from fsr.config import Vae
from fsr.datasets import lookup, read_registry
from fsr.images import read_image
from fsr.metrics.fidelity import crop_border, luma, psnr
from fsr.metrics.protocol import PROTOCOLS
from fsr.sources import checked_files
from fsr.upscalers.base import Sample
from fsr.upscalers.interpolation import FeatureBicubic

STRICT, SCALE = PROTOCOLS["strict"], 2
PUBLIC = Vae(family="TAEF2", path="public", subfolder=None, revision=None, dtype="float32", tile=None)
# PSNR (dB) of another implementation, means over images
ROUNDTRIP = {"Set5": (31.208, 33.959), "Set14": (28.924, 31.412)}  # RGB and luma, against the raw images
FEATURE_BICUBIC = {"f1": 18.188, "f2": 20.337, "f3": 23.813, "f4": 27.271, "f5": 27.256}  # Set5, RGB, against x_H_rec
MIRROR = os.environ.get("FSR_MIRROR")
needs_mirror = pytest.mark.skipif(not MIRROR, reason="FSR_MIRROR names no mirror of the public sets and weights")


@pytest.fixture(scope="module")
def published() -> FrozenAutoencoder:
    return load_autoencoder(PUBLIC, "cpu", MIRROR)


@pytest.fixture(scope="module")
def samples(root, published) -> dict[str, list[Sample]]:
    registry = read_registry(root / "data/datasets.csv")
    files = {name: checked_files(lookup(registry, name), MIRROR) for name in ROUNDTRIP}
    return {name: [STRICT.sample(read_image(file), published, SCALE) for file in files[name]] for name in files}


def shown(images: torch.Tensor) -> torch.Tensor:
    """What the strict protocol measures."""
    return crop_border(STRICT.output(images), SCALE)


@needs_mirror
@pytest.mark.parametrize("name", ROUNDTRIP)
def test_it_reconstructs_as_measured_elsewhere(samples, name):
    with torch.inference_mode():
        pairs = [(shown(sample.x_H_rec), shown(sample.x_H)) for sample in samples[name]]
    rgb = np.mean([psnr(a, b) for a, b in pairs])
    y = np.mean([psnr(luma(a), luma(b)) for a, b in pairs])
    assert (rgb, y) == pytest.approx(ROUNDTRIP[name], abs=0.02)


@needs_mirror
@pytest.mark.parametrize("cut", FEATURE_BICUBIC)
def test_its_cuts_lie_where_they_were_measured_elsewhere(samples, cut):
    with torch.inference_mode():
        scores = [psnr(shown(FeatureBicubic(cut)(item).image), shown(item.x_H_rec)) for item in samples["Set5"]]
    assert np.mean(scores) == pytest.approx(FEATURE_BICUBIC[cut], abs=0.05)


@needs_mirror
def test_the_registered_sizes_are_those_of_the_published_files():
    assert {name: Path(MIRROR, "vae/taef2", name).stat().st_size for name in TAEF2_FILES} == {
        name: size for name, (size, _) in TAEF2_FILES.items()
    }


@pytest.fixture(scope="module")
def model() -> Taef2:
    torch.manual_seed(0)
    return Taef2().eval().requires_grad_(False)


@pytest.fixture
def folder(model, tmp_path) -> Path:
    """The two files as published: state dicts in half precision."""
    for part, name in ((model.encoder, ENCODER_FILE), (model.decoder, DECODER_FILE)):
        torch.save({key: value.half() for key, value in part.state_dict().items()}, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_two_files_are_loaded(model, folder, dtype):
    loaded = load_autoencoder(PUBLIC.model_copy(update={"path": str(folder), "dtype": dtype}), "cpu").model
    assert loaded.dtype == getattr(torch, dtype)
    for key, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value.half().to(loaded.dtype)), key


@pytest.mark.parametrize("name", [ENCODER_FILE, DECODER_FILE])
def test_a_file_that_is_missing_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{name} is missing; set vae.path to a folder with both files, or to"):
        load_autoencoder(PUBLIC.model_copy(update={"path": str(folder)}), "cpu")


class RunsCode:
    """Unpickled, it makes a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


def test_a_file_that_would_run_code_is_refused_and_does_not(folder):
    trace = folder / "it ran"
    torch.save({"0.weight": RunsCode(trace)}, folder / ENCODER_FILE)
    with pytest.raises(ValueError, match=f"{ENCODER_FILE} does not hold TAEF2's weights; fetch it again$"):
        Taef2.from_public_files(folder)
    assert not trace.exists()
    torch.load(folder / ENCODER_FILE, weights_only=False)
    assert trace.exists(), "else the file would have been harmless"


@pytest.mark.parametrize(
    "content",
    [{"other.weight": torch.zeros(3)}, {}, torch.zeros(3), [1, 2], {"0.weight": "text"}],
    ids=["other keys", "no keys", "a tensor", "a list", "no tensors"],
)
def test_a_file_with_other_content_is_refused(folder, content):
    torch.save(content, folder / DECODER_FILE)
    assert_refused(folder, DECODER_FILE)


def test_weights_of_another_shape_are_refused(folder):
    weights = torch.load(folder / ENCODER_FILE, weights_only=True)
    torch.save(weights | {"0.bias": torch.zeros(65)}, folder / ENCODER_FILE)
    assert_refused(folder, ENCODER_FILE)


@pytest.mark.parametrize("change", ["empty", "cut", "page", "damaged"])
def test_a_file_that_is_damaged_is_refused(folder, change):
    path = folder / ENCODER_FILE
    whole = path.read_bytes()
    start = whole.index(b"data.pkl") + len(b"data.pkl")
    changed = {
        "empty": b"",
        "cut": whole[: len(whole) // 2],
        "page": b"<!DOCTYPE html><title>429</title>",
        "damaged": whole[:start] + bytes(byte ^ 0x55 for byte in whole[start : start + 200]) + whole[start + 200 :],
    }
    path.write_bytes(changed[change])
    assert_refused(folder, ENCODER_FILE)


def assert_refused(folder: Path, name: str) -> None:
    with pytest.raises(ValueError, match=f"^{folder / name} does not hold TAEF2's weights; fetch it again$"):
        Taef2.from_public_files(folder)


def test_saved_as_diffusers_saves_it_comes_back(tmp_path):
    model = tiny_of("TAEF2").eval()
    model.save_pretrained(tmp_path)
    loaded = load_autoencoder(PUBLIC.model_copy(update={"path": str(tmp_path)}), "cpu").model
    assert type(loaded) is Taef2
    assert (loaded.config.width, loaded.config.latent_channels) == (8, 4)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), loaded.parameters(), strict=True))


def test_its_layout_is_that_of_the_published_files(model):
    """Counted in them: so many tensors and weights, the first and the last names."""
    for part, weights, first, last in (
        (model.encoder, 1338528, "0.weight", "14.bias"),
        (model.decoder, 1338499, "1.weight", "19.bias"),
    ):
        state = part.state_dict()
        assert len(state) == 79
        assert sum(value.numel() for value in state.values()) == weights
        assert (next(iter(state)), next(reversed(state))) == (first, last)
        pooled = {key.split(".")[0] for key in state if ".pool." in key}
        assert pooled == ({"11", "12", "13"} if part is model.encoder else {"3", "4", "5"})


def test_it_stands_in_for_an_autoencoder_tiny(model):
    """Calls, outputs and configuration as pipelines of diffusers use them."""
    for name in ("encode", "decode"):
        ours, theirs = (list(inspect.signature(getattr(c, name)).parameters.values()) for c in (Taef2, AutoencoderTiny))
        assert [p.name for p in ours[2:]] == [p.name for p in theirs[2:]]
        assert [p.default for p in ours] == [p.default for p in theirs]
    x = torch.rand(2, 3, 24, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    (z,) = model.encode(x, return_dict=False)
    assert torch.equal(model.encode(x).latents, z)
    assert z.shape == (2, 32, 3, 2)
    (images,) = model.decode(z, generator=torch.Generator(), return_dict=False)
    assert torch.equal(model.decode(z).sample, images)
    assert images.shape == x.shape
    assert 2 ** (len(model.config.block_out_channels) - 1) == 8


def test_latents_are_clamped_smoothly_before_anything_else(model):
    z = torch.linspace(-30, 30, 32 * 6).reshape(1, 32, 2, 3)
    clamped = FrozenAutoencoder(model).decoder.run(z, stop=1)
    assert np.allclose(clamped, 3 * np.tanh(z.double().numpy() / 3), atol=1e-6)
    assert all(a <= b for a, b in pairwise(clamped.flatten()))
    assert torch.equal(model.decode(1e3 * z).sample, model.decode(1e4 * z).sample)


@pytest.mark.parametrize(("model_class", "reaches"), [(Taef2, True), (AutoencoderTiny, False)])
def test_on_the_grid_of_the_latent_one_pixel_matters_to_all_others(model_class, reaches):
    """Blocks that pool see the whole image; those of AutoencoderTiny, convolutions alone, do not see so far."""
    torch.manual_seed(0)
    frozen = FrozenAutoencoder(model_class(latent_channels=4))
    z = torch.randn(1, 4, 24, 24, generator=torch.Generator().manual_seed(1))
    moved = z.clone()
    moved[..., 0, 0] += 3
    for cut, expected in (("f1", False), ("f2", reaches)):
        change = (frozen.head(moved, cut) - frozen.head(z, cut)).abs()
        assert change[..., 0, 0].max() > 0
        assert (change[..., -1, -1].max().item() > 0) == expected
