"""Images in, larger images out: exact sizes, the benchmark's pixels, and what is refused."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tiny_models import tiny_model, tiny_of

from fsr import cli, pipeline
from fsr.autoencoders import FrozenAutoencoder, load_autoencoder, weights_sha256
from fsr.benchmark.rows import prepared, render, write_pictures
from fsr.config import Vae
from fsr.flow.field import VectorField
from fsr.images import list_images, read_image, write_image
from fsr.metrics.protocol import PROTOCOLS
from fsr.pipeline import ImagePipeline, plan_jobs, reflected
from fsr.upscalers import Fsr, Sample

CASES = {  # family, cut, scale, patch: what sides must be multiples of
    ("AutoencoderKL", "f1", 2, 4): 16,
    ("AutoencoderKL", "f3", 4, 2): 8,
    ("AutoencoderKL", "f5", 3, 2): 8,
    ("TAEF2", "f4", 2, 1): 8,
}


def moving_field(autoencoder: FrozenAutoencoder, cut: str, scales: list[int], patch: int = 2) -> VectorField:
    """A random field that moves every feature."""
    torch.manual_seed(1)
    channels, hash_ = autoencoder.decoder.cut(cut).channels, weights_sha256(autoencoder)
    field = VectorField(channels, cut, scales, hash_, hidden=16, blocks=1, block="residual", patch=patch, gate="scalar")
    torch.nn.init.normal_(field.out_velocity.weight, std=0.3)
    return field.eval()


def noise(height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """A folder with an autoencoder in `vae` and a field of its, for scales 2 and 4, in `model`."""
    folder = tmp_path_factory.mktemp("models")
    tiny_model().save_pretrained(folder / "vae")
    field = moving_field(FrozenAutoencoder(tiny_model()), "f4", [2, 4])
    field.save_pretrained(folder / "model")
    return folder


@pytest.fixture
def fsr(monkeypatch, capsys):
    """The command, as installed: its exit code and what it wrote to stderr."""

    def run(*arguments: Path | str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["fsr", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code or 0, capsys.readouterr().err

    return run


@pytest.fixture
def upscale(fsr, models):
    """`fsr upscale` with the tiny models."""
    return lambda *arguments: fsr("upscale", "--model", models / "model", "--vae", models / "vae", *arguments)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_output_is_exactly_scale_times_the_input_whatever_its_size(case):
    family, cut, scale, patch = case
    autoencoder = FrozenAutoencoder(tiny_of(family))
    enlarge = ImagePipeline(autoencoder, moving_field(autoencoder, cut, [scale], patch), scale)
    assert enlarge.multiple == CASES[case]

    @settings(max_examples=15, deadline=None)
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
    assert torch.equal(ImagePipeline(autoencoder, field, 2)(x_L), expected)


def test_files_hold_the_pixels_of_the_benchmarks_row(upscale, models, params, tmp_path):
    """From the low resolution that the benchmark keeps to the picture it keeps of its own row."""
    vae = Vae(
        family="AutoencoderKL", path=str(models / "vae"), subfolder=None, revision=None, dtype="float32", tile=None
    )
    autoencoder = load_autoencoder(vae, "cpu")
    field = VectorField.from_pretrained(models / "model", use_safetensors=True).eval()
    original = write_image(tmp_path / "wide.png", noise(64, 96))
    params = params.model_copy(update={"benchmark": params.benchmark.model_copy(update={"dtype": "float32"})})
    with torch.inference_mode():
        [(_, _, sample)] = prepared([original], [PROTOCOLS["strict"]], 2, autoencoder, params)
        row = render(Fsr(field), sample, "f4", params)[0].image
    write_pictures(tmp_path, "wide", {"lr": sample.x_L, "fsr": row}, ["lr", "fsr"])
    assert upscale(tmp_path / "lr", "-o", tmp_path / "out")[0] == 0
    made, kept = (np.asarray(Image.open(tmp_path / folder / "wide.png")) for folder in ("out", "fsr"))
    assert made.shape == (64, 96, 3)
    assert np.array_equal(made, kept)


def test_a_scale_may_be_chosen_and_the_first_is_the_default(upscale, tmp_path):
    source = write_image(tmp_path / "a.png", noise(13, 9))
    for scale, options in ((2, []), (4, ["--scale", 4]), (2, ["--scale", 2, "--threads", 1, "--device", "cpu"])):
        assert upscale(source, "-o", tmp_path / "out", *options)[0] == 0
        assert read_image(tmp_path / "out/a.png").shape == (1, 3, 13 * scale, 9 * scale)


def test_one_bad_file_stops_no_other_and_is_named_at_once_and_at_the_end(upscale, tmp_path, monkeypatch):
    first, last = (write_image(tmp_path / f"{name}.png", noise(16, 16)) for name in "az")
    (tmp_path / "bad.png").write_bytes(first.read_bytes()[:300])
    (tmp_path / "notes.png").write_text("no image")
    sources = [first, tmp_path / "bad.png", tmp_path / "notes.png", tmp_path / "gone.png", last]
    code, err = upscale(*sources, "-o", tmp_path / "out")
    assert code == 1
    assert [path.name for path in list_images(tmp_path / "out")] == ["a.png", "z.png"]
    for name, reason in (("bad", "is truncated"), ("notes", "is not an image"), ("gone", "is missing")):
        line = next(line for line in err.splitlines() if f"failed: {tmp_path}/{name}.png" in line)
        assert reason in line
    assert err.splitlines()[-1] == f"error: 3 of 5 images failed: {', '.join(map(str, sources[1:4]))}"


def test_an_image_too_large_for_memory_stops_no_other(upscale, tmp_path, monkeypatch):
    sources = [write_image(tmp_path / f"{name}.png", noise(side, 16)) for name, side in (("a", 40), ("b", 16))]
    whole = ImagePipeline.__call__

    def limited(self, x_L):
        if x_L.shape[-2] > 16:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes.")
        return whole(self, x_L)

    monkeypatch.setattr(pipeline.ImagePipeline, "__call__", limited)
    code, err = upscale(*sources, "-o", tmp_path / "out")
    assert code == 1
    assert f"failed: {sources[0]}: an image of 16x40 pixels ran out of memory; make it smaller" in err
    assert [path.name for path in list_images(tmp_path / "out")] == ["b.png"]


def test_outputs_of_one_name_are_refused_before_anything_runs(upscale, tmp_path):
    one, two = (write_image(tmp_path / folder / "same.png", noise(8, 8)) for folder in ("one", "two"))
    other = write_image(tmp_path / "one/other.png", noise(8, 8))
    code, err = upscale(other, one, two, "-o", tmp_path / "out")
    assert code == 1
    assert err.startswith(f"error: {one} and {two} would both be written to {tmp_path}/out/same.png; ")
    assert not (tmp_path / "out").exists()
    Image.open(one).save(tmp_path / "one/same.jpg")
    with pytest.raises(ValueError, match=r"same\.jpg and .*same\.png would both be written"):
        plan_jobs([tmp_path / "one"], tmp_path / "out")


def test_an_input_is_never_written_over(upscale, tmp_path):
    source = write_image(tmp_path / "a.png", noise(8, 8))
    before = source.read_bytes()
    code, err = upscale(source, "-o", tmp_path)
    assert (code, source.read_bytes()) == (1, before)
    assert "is itself to be read and would be written over; choose another folder" in err


def test_an_image_named_twice_is_made_once_and_a_folder_is_its_images(tmp_path):
    files = [write_image(tmp_path / "in" / f"{name}.png", noise(8, 8)) for name in "abc"]
    jobs = plan_jobs([files[1], tmp_path / "in", tmp_path / "in/../in/a.png"], tmp_path / "out")
    assert [job.output for job in jobs] == [tmp_path / "out" / f"{name}.png" for name in "bac"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no images in .*empty"):
        plan_jobs([tmp_path / "empty"], tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--scale", "3"], "scale 3 is not one this field was trained for; choose one of 2, 4, or give a field"),
        (["--vae", "embedded"], "was trained for another autoencoder; load that one, or train again"),
        (
            ["--vae-class", "AutoencoderTiny"],
            "holds AutoencoderKL, not AutoencoderTiny; set vae.class to AutoencoderKL",
        ),
        (["--vae-class", "VAE"], "vae: class is 'VAE': input should be"),
        (["--model", "nowhere"], "no trained field in nowhere: it holds no config.json; give the folder `model`"),
        (["--model", "VAE"], "holds AutoencoderKL, not a VectorField; give the folder `model`"),
        (["--device", "abacus"], "device 'abacus' cannot be used here; use cpu"),
    ],
)
def test_what_cannot_be_done_is_one_line_with_a_remedy(upscale, models, tmp_path, options, message):
    source = write_image(tmp_path / "a.png", noise(8, 8))
    options = [str(models / "vae") if option == "VAE" and "--model" in options else option for option in options]
    code, err = upscale(source, "-o", tmp_path / "out", *options)
    assert code == 1
    assert len(err.splitlines()) == 1
    assert err.startswith("error: ")
    assert message in err
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_alone_is_enough(tmp_path):
    """Nothing of the study is at hand but the two files of a trained field; the process is a new one."""
    vae = Vae(family="AutoencoderKL", path="embedded", subfolder=None, revision=None, dtype="float32", tile=None)
    moving_field(load_autoencoder(vae, "cpu"), "f4", [2]).save_pretrained(tmp_path / "pulled")
    model = tmp_path / "elsewhere/results/embedded/train/model"
    model.mkdir(parents=True)
    for name in ("config.json", "diffusion_pytorch_model.safetensors"):
        shutil.copy(tmp_path / "pulled" / name, model / name)
    write_image(tmp_path / "elsewhere/a.png", noise(21, 33))
    command = [sys.executable, "-c", "from fsr.cli import main; main()", "upscale", "a.png", "gone.png", "-o", "out"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=tmp_path / "elsewhere", env=environment, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1] == "error: 1 of 2 images failed: gone.png"
    assert read_image(tmp_path / "elsewhere/out/a.png").shape == (1, 3, 42, 66)
