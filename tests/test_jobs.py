"""What a batch is made of, what it finds done, and that no file stops another."""

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import FluxPipeline
from PIL import Image
from safetensors.torch import save_file
from small_fields import moving_field, noise

from fsr.files import read_json
from fsr.formats import Encoding
from fsr.images import VIEWS, read_image, turned, turned_back, write_image
from fsr.jobs import Bar, Job, decode_files, plan_jobs, plan_latents, upscale_files, watched
from fsr.jobs.latents import read_latent, unpacked
from fsr.pipeline import ImagePipeline
from fsr.tiling import Tiling


@pytest.fixture(scope="module")
def enlarge(request) -> ImagePipeline:
    autoencoder = request.getfixturevalue("autoencoder")
    return ImagePipeline(autoencoder, moving_field(autoencoder, "f4", [2, 4]), 2, Tiling(whole=True))


@pytest.fixture
def batch(enlarge, tmp_path):
    """Enlarge inputs into `out`; the outcomes."""

    def run(*inputs: Path, pipeline=enlarge, kind="keep", quality=None, **options):
        jobs = plan_jobs(inputs, tmp_path / "out", kind)
        return list(upscale_files(pipeline, jobs, tmp_path / "out", Encoding(kind, quality), **options))

    return run


def picture(path: Path, height: int = 8, width: int = 8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_image(path, noise(height, width, seed=len(path.name)))


def outputs(jobs: list[Job], folder: Path) -> list[str]:
    return [job.output.relative_to(folder).as_posix() for job in jobs]


def test_an_image_named_twice_is_made_once_and_a_folder_is_its_images(tmp_path):
    files = [picture(tmp_path / "in" / f"{name}.png") for name in "abc"]
    jobs = plan_jobs([files[1], tmp_path / "in", tmp_path / "in/../in/a.png"], tmp_path / "out")
    assert outputs(jobs, tmp_path / "out") == ["b.png", "a.png", "c.png"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no images in .*empty"):
        plan_jobs([tmp_path / "empty"], tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="no images below .*empty"):
        plan_jobs([tmp_path / "empty"], tmp_path / "out", recursive=True)


def test_suffixes_are_kept_where_the_format_is(tmp_path):
    for name in ("a.PNG", "b.JPG", "c.jpeg", "d.webp", "e.tiff", "f.bmp"):
        (tmp_path / "in").mkdir(exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / "in" / name)
    jobs = plan_jobs([tmp_path / "in"], tmp_path / "out")
    assert outputs(jobs, tmp_path / "out") == ["a.PNG", "b.JPG", "c.jpeg", "d.webp", "e.tiff", "f.png"]
    jobs = plan_jobs([tmp_path / "in"], tmp_path / "out", "jpeg")
    assert {job.output.suffix for job in jobs} == {".jpg"}


@pytest.mark.parametrize(
    ("given", "recursive", "expected"),
    [
        ("in", False, ["top.png"]),
        ("in", True, ["a/deep/last.png", "a/one.png", "b/one.png", "top.png"]),
        ("in/*.png", False, ["top.png"]),
        ("in/*/one.png", False, ["a/one.png", "b/one.png"]),
        ("in/**/*.png", False, ["a/deep/last.png", "a/one.png", "b/one.png", "top.png"]),
        ("in/**", False, ["a/deep/last.png", "a/one.png", "b/one.png", "top.png"]),
        ("in/a/**/*.png", False, ["deep/last.png", "one.png"]),
        ("in/[ab]/*", False, ["a/one.png", "b/one.png"]),
        ("in/a/one.png", True, ["one.png"]),
    ],
)
@pytest.mark.parametrize("out", ["out", "in/out"])
def test_folders_and_patterns_keep_what_is_below_them(tmp_path, monkeypatch, given, recursive, expected, out):
    """Neither hidden files nor, where it lies in the folder, earlier output is taken for input."""
    monkeypatch.chdir(tmp_path)
    for name in ("top", "a/one", "b/one", "a/deep/last", "a/.hidden", ".secret/one"):
        picture(tmp_path / f"in/{name}.png")
    (tmp_path / "in/a/notes.txt").touch()
    picture(tmp_path / out / "a/earlier.png")
    for prefix in (Path(), tmp_path):
        jobs = plan_jobs([prefix / given], Path(out), recursive=recursive)
        assert outputs(jobs, Path(out)) == expected
        assert all(job.source.is_file() for job in jobs)


def test_a_name_with_wildcards_in_it_is_that_file_where_it_exists(tmp_path):
    odd = picture(tmp_path / "a[1]*.png")
    picture(tmp_path / "a1.png")
    assert [job.source for job in plan_jobs([odd], tmp_path / "out")] == [odd]
    with pytest.raises(FileNotFoundError, match=r"no images fit .*z\*\.png; expected files ending in"):
        plan_jobs([tmp_path / "z*.png"], tmp_path / "out")


def test_outputs_of_one_name_and_inputs_that_would_be_lost_are_refused(tmp_path):
    one, two = picture(tmp_path / "one/same.png"), picture(tmp_path / "two/same.png")
    with pytest.raises(ValueError, match=r"one/same\.png and .*two/same\.png would both be written to .*rename one"):
        plan_jobs([one, two], tmp_path / "out")
    Image.open(one).save(tmp_path / "one/same.jpg")
    assert len(plan_jobs([tmp_path / "one"], tmp_path / "out")) == 2
    with pytest.raises(ValueError, match=r"same\.jpg and .*same\.png would both be written"):
        plan_jobs([tmp_path / "one"], tmp_path / "out", "png")
    with pytest.raises(ValueError, match="is itself to be read and would be written over; choose another folder"):
        plan_jobs([one], tmp_path / "one")
    (tmp_path / "linked").mkdir()
    os.link(two, tmp_path / "linked/same.png")
    (tmp_path / "pointed").mkdir()
    (tmp_path / "pointed/same.png").symlink_to(two)
    for folder in ("linked", "pointed"):
        with pytest.raises(ValueError, match="is itself to be read"):
            plan_jobs([two], tmp_path / folder)


def test_results_go_into_a_folder_that_is_not_named_like_an_image(batch, tmp_path):
    source = picture(tmp_path / "in/a.png")
    for name in ("big.png", "big.JPG"):
        with pytest.raises(ValueError, match=f"{name} is named like an image, and results go into a folder"):
            plan_jobs([source], tmp_path / name)
    (tmp_path / "big.png").mkdir()
    assert outputs(plan_jobs([source], tmp_path / "big.png"), tmp_path / "big.png") == ["a.png"]
    save_file({"a": torch.zeros(4, 2, 2)}, tmp_path / "z.safetensors")
    with pytest.raises(ValueError, match="named like an image"):
        plan_latents(tmp_path / "z.safetensors", tmp_path / "z.webp")


def test_a_link_to_nothing_is_an_image_that_failed_and_a_folder_named_like_one_is_none(batch, tmp_path):
    picture(tmp_path / "in/good.png")
    (tmp_path / "in/folder.png").mkdir()
    (tmp_path / "in/link.png").symlink_to("gone.png")
    assert [(each.job.source.name, each.status) for each in batch(tmp_path / "in")] == [
        ("good.png", "done"),
        ("link.png", "failed"),
    ]


def test_a_folder_that_cannot_be_read_is_named_where_it_would_be_looked_into(tmp_path, monkeypatch):
    closed = picture(tmp_path / "in/closed/b.png").parent
    picture(tmp_path / "in/a.png")
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != closed and access(path, mode))  # root may all
    assert outputs(plan_jobs([tmp_path / "in"], tmp_path / "out"), tmp_path / "out") == ["a.png"]
    assert outputs(plan_jobs([tmp_path / "in/*"], tmp_path / "out"), tmp_path / "out") == ["a.png"]
    for given, recursive in ((closed, False), (tmp_path / "in", True), (tmp_path / "in/**/*", False)):
        with pytest.raises(PermissionError, match="closed cannot be read; change its permissions"):
            plan_jobs([given], tmp_path / "out", recursive=recursive)


def test_a_name_that_is_no_text_is_a_name(batch, tmp_path):
    named = Path(os.fsdecode(os.fsencode(tmp_path) + b"/in/\xff\xe9.png"))
    picture(tmp_path / "in/a.png").rename(named)
    for status in ("done", "skipped"):
        assert [(each.status, each.reason) for each in batch(tmp_path / "in")] == [(status, "")]


def test_what_stands_there_already_is_skipped_and_only_that(batch, enlarge, tmp_path, monkeypatch):
    files = [picture(tmp_path / f"{name}.png") for name in "abc"]
    first = batch(*files[:2])
    assert [(item.status, item.size) for item in first] == [("done", (16, 16))] * 2
    assert all(item.seconds > 0 for item in first)
    kept = [(item.job.output.read_bytes(), item.job.output.stat().st_mtime_ns) for item in first]
    again = batch(*files)
    assert [item.status for item in again] == ["skipped", "skipped", "done"]
    assert again[0].size == (16, 16)
    assert [(item.job.output.read_bytes(), item.job.output.stat().st_mtime_ns) for item in again[:2]] == kept
    os.utime(files[0])
    os.utime(again[1].job.output)
    assert [item.status for item in batch(*files, pipeline=replace(enlarge, tiling=Tiling(rows=16)))] == ["skipped"] * 3
    again[2].job.output.unlink()
    assert [item.status for item in batch(*files)] == ["skipped", "skipped", "done"]


@pytest.mark.parametrize("change", ["input", "scale", "model", "quality", "output", "no record"])
def test_what_would_be_made_otherwise_is_replaced_only_when_asked(batch, enlarge, tmp_path, change):
    source = picture(tmp_path / "a.png", 8, 8)
    [before] = batch(source)
    other = {}
    match change:
        case "input":
            write_image(source, noise(8, 8, seed=99))
        case "scale":
            other = {"pipeline": replace(enlarge, scale=4)}
        case "model":
            field = moving_field(enlarge.autoencoder, "f4", [2])
            field.feature_mean += 1
            other = {"pipeline": replace(enlarge, field=field)}
        case "quality":
            other = {"quality": 5}
        case "output":
            write_image(before.job.output, noise(16, 16))
        case "no record":
            (tmp_path / "out/.fsr/a.png.json").unlink()
    stood = before.job.output.read_bytes()
    [refused] = batch(source, **other)
    assert refused.status == "failed"
    why = "not made here, or changed since" if change in ("output", "no record") else "made of another file or with"
    assert f"out/a.png is there and was {why}" in refused.reason
    assert refused.reason.endswith("give --overwrite, or another folder")
    assert before.job.output.read_bytes() == stood
    assert [item.status for item in batch(source, **other, overwrite=True)] == ["done"]
    assert [item.status for item in batch(source, **other)] == ["skipped"]


def test_a_file_of_another_size_is_another_file_whatever_its_time(batch, tmp_path):
    source = picture(tmp_path / "a.png")
    [before] = batch(source)
    time = before.job.output.stat().st_mtime_ns
    before.job.output.write_bytes(before.job.output.read_bytes()[:100])
    os.utime(before.job.output, ns=(time, time))
    assert [item.status for item in batch(source)] == ["failed"]


def test_a_file_of_somebody_elses_stays(batch, tmp_path):
    source, theirs = picture(tmp_path / "a.png"), picture(tmp_path / "out/a.png", 3, 3)
    before = theirs.read_bytes()
    [item] = batch(source)
    assert (item.status, theirs.read_bytes()) == ("failed", before)


def test_a_damaged_record_is_named(batch, tmp_path):
    source = picture(tmp_path / "a.png")
    batch(source)
    record = tmp_path / "out/.fsr/a.png.json"
    for text in ("{", "{}", "[]"):
        record.write_text(text)
        [item] = batch(source)
        assert item.status == "failed"
        assert str(record) in item.reason
        assert "delete it" in item.reason


def test_records_say_nothing_of_where_files_lie(batch, tmp_path):
    batch(picture(tmp_path / "secret/a.png"))
    text = (tmp_path / "out/.fsr/a.png.json").read_text()
    assert str(tmp_path) not in text
    assert json.loads(text)["source"]["name"] == "a.png"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), "an image of 8x8 pixels ran out of memory; make it smaller, or give --memory or a smaller"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 1 bytes."), "an image of 8x8 pixels ran out of mem"),
        (RuntimeError("something else"), "something else"),
        (ValueError("wrong; do it right"), "wrong; do it right"),
        (OSError(28, "the disk is full; free some space"), "the disk is full; free some space"),
        (OSError(5, "Input/output error", "a.png"), "[Errno 5] Input/output error: 'a.png'"),
        (OSError("a file ended early"), "a file ended early"),
    ],
)
def test_no_error_stops_a_batch(batch, tmp_path, monkeypatch, error, reason):
    whole = ImagePipeline.__call__

    def failing(self, x_L):
        if x_L.shape[-1] == 8:
            raise error
        return whole(self, x_L)

    monkeypatch.setattr(ImagePipeline, "__call__", failing)
    sources = [picture(tmp_path / "a.png", 8, 8), picture(tmp_path / "b.png", 8, 9)]
    failed, made = batch(*sources)
    assert (failed.status, made.status) == ("failed", "done")
    assert failed.reason.startswith(reason)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".fsr", "b.png"]


def test_a_batch_tells_how_far_each_image_is(batch, enlarge, tmp_path, monkeypatch):
    """The encoder's pass counts as one of five at scale 2, whatever else is said afterwards."""
    whole, told = ImagePipeline.__call__, []

    def telling(self, x_L):
        for share in (0.5, 1.0, 0.25, 0.75, 1.0, 0.5):
            self.renderer.progress(share)
        if x_L.shape[-1] == 9:
            raise ValueError("an image that ends early")
        return whole(self, x_L)

    monkeypatch.setattr(ImagePipeline, "__call__", telling)
    names = (("a", 8), ("b", 9), ("c", 8))
    made = batch(*(picture(tmp_path / f"{name}.png", 8, width) for name, width in names), progress=told.append)
    assert [each.status for each in made] == ["done", "failed", "done"]
    assert told == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0] * 3)
    with watched(enlarge.renderer, told.append):
        told.clear()
    enlarge.renderer.progress(0.5)
    assert told == [], "nobody is told between images"


def test_a_bar_moves_within_a_job_and_counts_whole_ones(capsys):
    with Bar("work", 2) as bar:
        bar.mininterval = 0
        bar.within(0.5)
        bar.within(0.25)  # never back
        bar.end("first")
        bar.within(0.9)
        assert (bar.n, bar.ended) == (1.9, 1)
        bar.end("second")
    shown = re.findall(r"(\d+)%\|[^|]*\| (\d)/2", capsys.readouterr().err)
    assert list(dict.fromkeys(shown)) == [("0", "0"), ("25", "0"), ("50", "1"), ("95", "1"), ("100", "2")]


def test_memory_that_runs_out_while_reading_stops_no_other(batch, tmp_path, monkeypatch):
    from fsr.jobs import run

    whole = run.read_picture

    def failing(path):
        if path.stem == "a":
            raise MemoryError
        return whole(path)

    monkeypatch.setattr(run, "read_picture", failing)
    failed, made = batch(picture(tmp_path / "a.png"), picture(tmp_path / "b.png"))
    assert (failed.status, failed.reason, made.status) == ("failed", "MemoryError", "done")


def test_an_interruption_leaves_neither_half_a_file_nor_a_record_that_lies(batch, tmp_path, monkeypatch):
    from fsr.jobs import records

    source, interrupted = picture(tmp_path / "a.png"), []
    write = records.write_json

    def interrupt(*args):
        write(*args)
        if not interrupted:
            interrupted.append(True)
            raise KeyboardInterrupt

    monkeypatch.setattr(records, "write_json", interrupt)
    with pytest.raises(KeyboardInterrupt):
        batch(source)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".fsr"]
    assert [item.status for item in batch(source)] == ["done"]
    assert read_image(tmp_path / "out/a.png").shape == (1, 3, 16, 16)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "I;16"])
@pytest.mark.parametrize("size", [(1, 1), (7, 13)])
def test_whatever_kind_an_image_is_its_larger_one_is_of_that_kind(batch, tmp_path, mode, size):
    values = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 4), dtype=np.uint8)
    source = Image.fromarray(values)
    if mode == "I;16":
        source = Image.fromarray(values[..., 0].astype(np.uint16) * 257)
    elif mode != "RGBA":
        source = source.convert("RGB").convert(mode)
    source.save(tmp_path / "a.png")
    [item] = batch(tmp_path / "a.png")
    assert item.status == "done", item.reason
    with Image.open(item.job.output) as made:
        assert made.size == (2 * size[0], 2 * size[1])
        assert made.mode == {"P": "RGB"}.get(mode, mode)


def latents(path: Path, **tensors: torch.Tensor) -> Path:
    save_file({name: value.contiguous() for name, value in tensors.items()}, path)
    return path


def test_latents_are_rendered_under_their_names(enlarge, tmp_path):
    one, several = torch.randn(4, 3, 2), torch.randn(11, 4, 2, 2)
    file = latents(tmp_path / "z.safetensors", one=one, several=several.bfloat16())
    jobs = plan_latents(file, tmp_path / "out")
    made = list(decode_files(enlarge, jobs, tmp_path / "out"))
    assert [item.status for item in made] == ["done"] * 12
    assert [item.job.output.name for item in made[:3]] == ["one.png", "several-00.png", "several-01.png"]
    with torch.inference_mode():
        expected = write_image(tmp_path / "expected.png", enlarge.decode(one[None]))
    assert torch.equal(read_image(tmp_path / "out/one.png"), read_image(expected))
    with torch.inference_mode():
        expected = write_image(tmp_path / "expected.png", enlarge.decode(several[10:].bfloat16()))
    assert torch.equal(read_image(tmp_path / "out/several-10.png"), read_image(expected))
    assert {item.status for item in decode_files(enlarge, jobs, tmp_path / "out")} == {"skipped"}
    assert {item.status for item in decode_files(enlarge, jobs, tmp_path / "out", raw=True)} == {"failed"}


def test_raw_latents_are_those_of_the_autoencoder_itself(enlarge, tmp_path):
    raw = enlarge.autoencoder.model.encode(noise(16, 16) * 2 - 1).latent_dist.mode()
    for name, value, options in (
        ("raw", raw, {"raw": True}),
        ("scaled", enlarge.autoencoder.encode(noise(16, 16)), {}),
    ):
        file = latents(tmp_path / f"{name}.safetensors", z=value[0])
        jobs = plan_latents(file, tmp_path / name)
        assert [item.status for item in decode_files(enlarge, jobs, tmp_path / name, **options)] == ["done"]
    made = [read_image(tmp_path / name / "z.png") for name in ("raw", "scaled")]
    assert (made[0] - made[1]).abs().max() <= 1 / 255


@pytest.mark.parametrize(("height", "width"), [(64, 64), (48, 80), (56, 40)])
def test_packed_latents_are_unpacked_as_flux_does(height, width):
    packed = torch.randn(2, (height // 16) * (width // 16), 64)
    expected = FluxPipeline._unpack_latents(packed, height, width, 8)
    assert torch.equal(unpacked(packed, 16, height, width, 8), expected)


def test_packed_latents_of_a_file(enlarge, tmp_path):
    z = torch.randn(2, 4, 4, 6)
    packed = torch.nn.functional.pixel_unshuffle(z, 2).flatten(2).transpose(1, 2)
    file = latents(tmp_path / "z.safetensors", z=packed)
    jobs = plan_latents(file, tmp_path / "out", (32, 48))
    for index, job in enumerate(jobs):
        assert torch.equal(read_latent(job, enlarge.autoencoder, (32, 48)), z[index : index + 1])
    [first, _] = decode_files(enlarge, jobs, tmp_path / "out", packed=(32, 48))
    assert (first.status, first.size) == ("done", (96, 64))
    wrong_jobs = plan_latents(file, tmp_path / "wrong", (64, 64))
    [wrong, _] = decode_files(enlarge, wrong_jobs, tmp_path / "wrong", packed=(64, 64))
    assert "packed latents of 64x64 pixels are (B, 16, 16), these are (1, 6, 16); give --packed" in wrong.reason
    [unasked] = decode_files(enlarge, plan_latents(file, tmp_path / "no"), tmp_path / "no")
    assert "for FLUX's packed latents give --packed HEIGHTxWIDTH" in unasked.reason


def test_latents_that_are_none_are_named_and_stop_no_other(enlarge, tmp_path):
    tensors = {"bad": torch.zeros(5, 2, 2), "flat": torch.zeros(7), "good": torch.zeros(4, 2, 2)}
    file = latents(tmp_path / "z.safetensors", nan=torch.full((4, 2, 2), torch.nan), **tensors)
    jobs = plan_latents(file, tmp_path / "out")
    found = {item.job.tensor: item for item in decode_files(enlarge, jobs, tmp_path / "out")}
    assert {name: item.status for name, item in found.items()} == {
        "bad": "failed",
        "flat": "failed",
        "good": "done",
        "nan": "failed",
    }
    assert "tensor 'bad' is (5, 2, 2), not latents of 4 channels, (4, h, w) or (B, 4, h, w)" in found["bad"].reason
    assert "latents are not all finite" in found["nan"].reason


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({}, "holds no tensors; save latents into it"),
        ({"../z": torch.zeros(4, 2, 2)}, r"has a tensor '\.\./z', which is no name of a file; rename it"),
        ({"a/b": torch.zeros(4, 2, 2)}, "has a tensor 'a/b'"),
        ({".z": torch.zeros(4, 2, 2)}, r"has a tensor '\.z'"),
        ({"z": torch.zeros(2, 4, 2, 2), "z-1": torch.zeros(4, 2, 2)}, r"would both be written to .*z-1\.png"),
    ],
)
def test_a_file_of_latents_without_usable_names_is_refused(tmp_path, tensors, message):
    with pytest.raises(ValueError, match=message):
        plan_latents(latents(tmp_path / "z.safetensors", **tensors), tmp_path / "out")


def test_a_file_that_is_not_safetensors_is_refused(tmp_path):
    for content in (b"", b"PK\x03\x04 a pickle of torch's", b"\xff" * 64):
        (tmp_path / "z.pt").write_bytes(content)
        with pytest.raises(ValueError, match=r"z\.pt is not a safetensors file that is whole .*; save it again"):
            plan_latents(tmp_path / "z.pt", tmp_path / "out")
    with pytest.raises(FileNotFoundError, match=r"no latents in .*gone\.safetensors: it is missing"):
        plan_latents(tmp_path / "gone.safetensors", tmp_path / "out")


def test_a_records_settings_are_all_that_decides_an_output(batch, enlarge, tmp_path):
    batch(picture(tmp_path / "a.png"))
    settings = read_json(tmp_path / "out/.fsr/a.png.json")["settings"]
    assert settings == {"scale": 2, "model": enlarge.identity, "format": "keep", "quality": None}


def test_an_ensemble_is_the_mean_over_views_and_another_output(batch, enlarge, tmp_path):
    source, told = picture(tmp_path / "a.png", 8, 16), []
    assert batch(source)[0].status == "done"
    assert "with other settings" in batch(source, ensemble=True)[0].reason
    in_strips = replace(enlarge, tiling=Tiling(rows=8))
    (outcome,) = batch(source, pipeline=in_strips, ensemble=True, overwrite=True, progress=told.append)
    assert (outcome.status, outcome.size) == ("done", (32, 16))
    image = read_image(source)
    views = [turned_back(enlarge(turned(image, *view)), *view) for view in VIEWS]
    mean = torch.stack(views).mean(dim=0).clamp(0, 1)
    assert not torch.allclose(mean, views[0].clamp(0, 1), atol=2 / 255)
    assert torch.allclose(read_image(tmp_path / "out/a.png"), mean, atol=0.51 / 255)
    assert told == sorted(told) and len(told) > 8 and told[-1] == pytest.approx(1)
    assert batch(source, ensemble=True)[0].status == "skipped"
