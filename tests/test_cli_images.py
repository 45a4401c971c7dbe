"""`fsr upscale` and `fsr decode` as installed: exit codes, lines, JSON, and the benchmark's pixels."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from small_fields import noise, save_models

from fsr import cli, pipeline
from fsr.autoencoders import load_autoencoder
from fsr.benchmark.rows import prepared, render, write_pictures
from fsr.config import Vae
from fsr.flow.field import VectorField
from fsr.images import enlarge, list_images, read_image, write_image
from fsr.metrics.protocol import PROTOCOLS
from fsr.tiling import Tiling
from fsr.upscalers import Fsr


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    return save_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def fsr(monkeypatch, capsys, models):
    """A command with the tiny models: its exit code, stdout and stderr."""

    def run(command: str, *arguments: object) -> tuple[int, str, str]:
        given = [command, "--model", models / "model", "--vae", models / "vae", *arguments]
        monkeypatch.setattr(sys, "argv", ["fsr", *map(str, given)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err

    return run


def test_files_hold_the_pixels_of_the_benchmarks_row(fsr, models, params, tmp_path):
    """From the low resolution that the benchmark keeps to the picture it keeps of its own row."""
    place = {"path": str(models / "vae"), "subfolder": None, "revision": None, "dtype": "float32", "tile": None}
    autoencoder = load_autoencoder(Vae(family="AutoencoderKL", **place), "cpu")
    field = VectorField.from_pretrained(models / "model", use_safetensors=True).eval()
    original = write_image(tmp_path / "wide.png", noise(64, 96))
    params = params.model_copy(update={"benchmark": params.benchmark.model_copy(update={"dtype": "float32"})})
    with torch.inference_mode():
        [(_, _, sample)] = prepared([original], [PROTOCOLS["strict"]], 2, autoencoder, params)
        row = render(Fsr(field), sample, params)[0].image
    write_pictures(tmp_path, "wide", {"lr": sample.x_L, "fsr": row}, ["lr", "fsr"])
    assert fsr("upscale", tmp_path / "lr", "-o", tmp_path / "out", "--tile", "off")[0] == 0
    made, kept = (np.asarray(Image.open(tmp_path / folder / "wide.png")) for folder in ("out", "fsr"))
    assert made.shape == (64, 96, 3)
    assert np.array_equal(made, kept)


def test_a_scale_may_be_chosen_and_the_first_is_the_default(fsr, tmp_path):
    source = write_image(tmp_path / "a.png", noise(13, 9))
    for scale, options in ((2, []), (4, ["--scale", 4]), (2, ["--scale", 2, "--threads", 1, "--device", "cpu"])):
        assert fsr("upscale", source, "-o", tmp_path / "out", "--overwrite", *options)[0] == 0
        assert read_image(tmp_path / "out/a.png").shape == (1, 3, 13 * scale, 9 * scale)


def test_one_bad_file_stops_no_other_and_is_named_at_once_and_at_the_end(fsr, tmp_path):
    first, last = (write_image(tmp_path / f"{name}.png", noise(16, 16)) for name in "az")
    (tmp_path / "bad.png").write_bytes(first.read_bytes()[:300])
    (tmp_path / "notes.png").write_text("no image")
    sources = [first, tmp_path / "bad.png", tmp_path / "notes.png", tmp_path / "gone.png", last]
    code, out, err = fsr("upscale", *sources, "-o", tmp_path / "out")
    assert (code, out) == (1, "")
    assert [path.name for path in list_images(tmp_path / "out")] == ["a.png", "z.png"]
    for name, reason in (("bad", "is truncated"), ("notes", "is not an image"), ("gone", "is missing")):
        line = next(line for line in err.splitlines() if f"failed: {tmp_path}/{name}.png" in line)
        assert reason in line
    assert err.splitlines()[-1] == f"error: 3 of 5 images failed: {', '.join(map(str, sources[1:4]))}"


def test_json_is_an_object_a_line(fsr, tmp_path):
    source = write_image(tmp_path / "a.png", noise(7, 5))
    sources = [source, tmp_path / "gone.png"]
    code, out, err = fsr("upscale", *sources, "-o", tmp_path / "out", "--json", "--tile", "off")
    made, gone = map(json.loads, out.splitlines())
    assert code == 1
    assert made.pop("seconds") > 0
    expected = {"source": str(source), "output": str(tmp_path / "out/a.png"), "size": [10, 14], "tile": "off"}
    assert made == expected | {"status": "done", "reason": ""}
    assert (gone["status"], gone["size"]) == ("failed", None)
    assert gone["reason"].startswith(f"image {tmp_path}/gone.png is missing")
    assert "upscale x2" in err
    code, out, _ = fsr("upscale", source, "-o", tmp_path / "out", "--json")
    assert (code, json.loads(out)["status"]) == (0, "skipped")


def test_json_is_apart_from_the_bar_and_of_any_name(fsr, tmp_path):
    source = write_image(tmp_path / "a.png", noise(7, 5))
    named = source.rename(tmp_path / "日本 é.png")
    code, out, err = fsr("upscale", named, tmp_path / "gone.png", "-o", tmp_path / "out", "--json")
    assert code == 1 and out.isascii() and out.count("\n") == 2 and "\r" not in out
    assert json.loads(out.splitlines()[0])["source"] == str(named)
    assert err.count("upscale x2:") <= 3, "drawn at first, at last, and again after a line on stderr alone"
    between = [line for line in err.replace("\r", "\n").splitlines() if line.strip() and "upscale x2" not in line]
    assert [line.partition(":")[0] for line in between] == ["failed", "error"]


def test_a_file_that_may_not_be_read_stops_no_other(fsr, tmp_path, monkeypatch):
    sources = [write_image(tmp_path / f"{name}.png", noise(8, 8)) for name in "ab"]
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != sources[0])  # what typer asks; root may all
    assert fsr("upscale", *sources, "-o", tmp_path / "out")[0] == 0


def test_a_format_and_quality_may_be_asked_for(fsr, tmp_path):
    write_image(tmp_path / "in/a.png", noise(40, 40))
    sizes = []
    for name, options in (("high", []), ("low", ["--quality", 20])):
        assert fsr("upscale", tmp_path / "in", "-o", tmp_path / name, "--format", "jpeg", *options)[0] == 0
        with Image.open(tmp_path / name / "a.jpg") as made:
            assert made.format == "JPEG"
        sizes.append((tmp_path / name / "a.jpg").stat().st_size)
    assert sizes[0] > 2 * sizes[1]


def test_folders_below_folders_are_kept(fsr, tmp_path):
    for name in ("a/one", "b/one"):
        write_image(tmp_path / f"in/{name}.png", noise(8, 8))
    assert fsr("upscale", tmp_path / "in", "--recursive", "-o", tmp_path / "out")[0] == 0
    assert fsr("upscale", tmp_path / "in/**/*.png", "-o", tmp_path / "globbed")[0] == 0
    for folder in ("out", "globbed"):
        assert (tmp_path / folder / "b/one.png").is_file()


def test_tile_and_memory_reach_the_pipeline(fsr, tmp_path, monkeypatch):
    source, seen = write_image(tmp_path / "a.png", noise(8, 8)), []

    def spy(self, x_L):
        seen.append(self.tiling)
        return enlarge(x_L, 2)

    monkeypatch.setattr(pipeline.ImagePipeline, "__call__", spy)
    for options in ([], ["--tile", "off"], ["--tile", "64"], ["--memory", "4GB"], ["--tile", "64", "--memory", "800M"]):
        code, _, err = fsr("upscale", source, "-o", tmp_path / "out", "--overwrite", *options)
        assert code == 0, err
        (tmp_path / "out/a.png").unlink()
    tilings = [Tiling(), Tiling(whole=True), Tiling(rows=64), Tiling(memory=2**32)]
    assert seen == [*tilings, Tiling(rows=64, memory=800 * 2**20)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--scale", "3"], "scale 3 is not one this field was trained for; choose one of 2, 4, or give a field"),
        (["--vae", "embedded"], "was trained for another autoencoder; load that one, or train again"),
        (["--vae-class", "AutoencoderTiny"], "holds AutoencoderKL, not AutoencoderTiny; set vae.class to"),
        (["--vae-class", "VAE"], "vae: class is 'VAE': input should be"),
        (["--model", "nowhere"], "no trained field in nowhere: it holds no config.json; give the folder `model`"),
        (["--model", "VAE"], "holds AutoencoderKL, not a VectorField or FSRDecoder; give the folder `model`"),
        (["--device", "abacus"], "device 'abacus' cannot be used here; use cpu"),
        (["--tile", "much"], "a tile of 'much' is none; give auto, off, or"),
        (["--memory", "much"], "memory of 'much' is none; give a size such as 4GB"),
        (["--tile", "off", "--memory", "1GB"], "--memory cannot be kept with --tile off; leave one of them out"),
        (["none*.png"], "no images fit none*.png; expected files ending in"),
    ],
)
def test_what_cannot_be_begun_is_one_line_with_a_remedy_and_code_2(fsr, models, tmp_path, options, message):
    source = write_image(tmp_path / "a.png", noise(8, 8))
    options = [str(models / "vae") if option == "VAE" and "--model" in options else option for option in options]
    code, out, err = fsr("upscale", source, "-o", tmp_path / "out", *options)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert err.startswith("error: ")
    assert message in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "options", [["--format", "gif"], ["--dtype", "int8"], ["--quality", "0"], ["--quality", "101"], ["--nonsense"]]
)
def test_options_there_are_not_are_code_2(fsr, tmp_path, options):
    source = write_image(tmp_path / "a.png", noise(8, 8))
    assert fsr("upscale", source, "-o", tmp_path / "out", *options)[0] == 2
    assert not (tmp_path / "out").exists()


def test_outputs_of_one_name_are_refused_before_anything_runs(fsr, tmp_path):
    one, two = (write_image(tmp_path / folder / "same.png", noise(8, 8)) for folder in ("one", "two"))
    code, _, err = fsr("upscale", one, two, "-o", tmp_path / "out")
    assert code == 2
    assert err.startswith(f"error: {one} and {two} would both be written to {tmp_path}/out/same.png; ")
    assert not (tmp_path / "out").exists()


def test_an_input_is_never_written_over(fsr, tmp_path):
    source = write_image(tmp_path / "a.png", noise(8, 8))
    before = source.read_bytes()
    code, _, err = fsr("upscale", source, "-o", tmp_path, "--overwrite")
    assert (code, source.read_bytes()) == (2, before)
    assert "is itself to be read and would be written over; choose another folder" in err


def test_latents_become_png(fsr, tmp_path):
    file = tmp_path / "z.safetensors"
    save_file({"cat": torch.randn(4, 3, 2), "dogs": torch.randn(2, 4, 2, 2)}, file)
    code, out, err = fsr("decode", file, "-o", tmp_path / "out", "--scale", 4, "--json")
    assert code == 0, err
    lines = list(map(json.loads, out.splitlines()))
    assert [Path(line["output"]).name for line in lines] == ["cat.png", "dogs-0.png", "dogs-1.png"]
    assert lines[0]["size"] == [64, 96]
    assert read_image(tmp_path / "out/dogs-1.png").shape == (1, 3, 64, 64)
    save_file({"cat": torch.randn(9, 3, 2), "dogs": torch.randn(1, 4, 2, 2)}, file)
    code, _, err = fsr("decode", file, "-o", tmp_path / "other")
    assert code == 1
    assert f"failed: {file} (cat): tensor 'cat' is (9, 3, 2), not latents of 4 channels" in err
    assert err.splitlines()[-1] == f"error: 1 of 2 latents failed: {file} (cat)"


def test_packed_latents_need_a_size(fsr, tmp_path):
    file = tmp_path / "z.safetensors"
    save_file({"z": torch.randn(1, 6, 16)}, file)
    assert fsr("decode", file, "-o", tmp_path / "out", "--packed", "32x48")[0] == 0
    assert read_image(tmp_path / "out/z-0.png").shape == (1, 3, 64, 96)
    for size in ("32", "x48", "32x0", "axb"):
        code, _, err = fsr("decode", file, "-o", tmp_path / "out", "--packed", size)
        assert code == 2
        assert f"--packed '{size}' is no size; give HEIGHTxWIDTH in pixels" in err


def test_ctrl_c_leaves_whole_files_only_and_the_batch_goes_on_where_it_was(fsr, models, tmp_path):
    for index in range(30):
        write_image(tmp_path / f"in/{index:02}.png", noise(96, 96, index))
    arguments = [
        "upscale",
        "--model",
        models / "model",
        "--vae",
        models / "vae",
        tmp_path / "in",
        "-o",
        tmp_path / "out",
    ]
    command = [sys.executable, "-c", "from fsr.cli import main; main()", *map(str, arguments), "--threads", "1"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    deadline = time.monotonic() + 120
    while not (tmp_path / "out/00.png").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode not in (0, None)
    made = sorted((tmp_path / "out").glob("*"))
    assert 0 < len(list_images(tmp_path / "out")) < 30
    assert all(read_image(file).shape == (1, 3, 192, 192) for file in made if file.name != ".fsr")
    assert not [file for file in made if file.name.startswith(".") and file.name != ".fsr"]
    code, out, _ = fsr("upscale", tmp_path / "in", "-o", tmp_path / "out", "--json")
    statuses = [json.loads(line)["status"] for line in out.splitlines()]
    assert (code, len(statuses)) == (0, 30)
    assert statuses.count("skipped") == len(made) - 1
