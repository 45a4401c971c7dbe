import csv
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fsr.benchmark import RowFiles, benchmark_rows, join_rows
from fsr.benchmark.rows import share
from fsr.config import Params
from fsr.files import sha256_of_file, write_json
from fsr.flow.field import build_field
from fsr.images import read_image, shrink
from fsr.metrics.perceptual import PerceptualMetric
from fsr.metrics.protocol import PROTOCOLS
from fsr.sections import validated
from fsr.upscalers import build_upscalers

ROWS = [
    "bicubic",
    "decoded_bicubic",
    "latent_bicubic",
    "feature_bicubic",
    "fsr",
    "fsr_euler4",
    "fsr_eta0.05",
    "vae_roundtrip",
]


def photos_of(folder, *sizes):
    """The manifest of smooth random images of these sizes (H, W)."""
    folder.mkdir()
    source = np.random.default_rng(0)
    for index, (height, width) in enumerate(sizes):
        small = source.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
        Image.fromarray(small).resize((width, height), Image.BICUBIC).save(folder / f"{index}.png")
    files = [{"name": file.name, "sha256": sha256_of_file(file)} for file in sorted(folder.iterdir())]
    return write_json(folder / "manifest.json", {"name": "Test2", "role": "test", "available": True, "files": files})


@pytest.fixture
def photos(tmp_path):
    return photos_of(tmp_path / "photos", (40, 70), (33, 48))


@pytest.fixture
def absent(tmp_path):
    """The manifest of a set that could not be had."""
    manifest = {"name": "Manga109", "role": "test", "available": False, "reason": "on request only", "files": []}
    return write_json(tmp_path / "absent/manifest.json", manifest)


def measure(params, photos, autoencoder, field, folder, scale=2, paired=True) -> list[dict[str, str]]:
    """The table of one set, measured shard by shard; pictures go to images/."""
    shards = [files_in(folder / str(shard)) for shard in range(params.benchmark.shards)]
    for shard, files in enumerate(shards):
        benchmark_rows(params, photos, scale, shard, autoencoder, field, files, paired=paired)
    join_rows(params, shards, files_in(folder), paired)
    return list(csv.DictReader((folder / "t.csv").open()))


def files_in(folder) -> RowFiles:
    return RowFiles(folder / "t.csv", folder / "images", folder / "features")


def run(
    values, photos, autoencoder, folder, moved: bool = False, protocols: tuple[str, ...] = ("strict",), **study
) -> list[dict[str, str]]:
    values["benchmark"] |= {"upscalers": ROWS, "protocols": list(protocols), "shards": study.get("shards", 1)}
    values["scales"], scale = study.get("scales", [2]), study.get("scale", 2)
    values["latents"]["crop_size"] = 64
    params = validated(Params, values, "test")
    field = build_field(params, "f3", autoencoder)
    if moved:
        torch.nn.init.normal_(field.out_velocity.weight, std=0.05, generator=torch.Generator().manual_seed(0))
    return measure(params, photos, autoencoder, field, folder, scale, study.get("paired", True))


def cells(rows, upscaler, metric, target="x_H_rec", protocol="strict"):
    keys, place = ("upscaler", "metric", "target", "protocol"), (upscaler, metric, target, protocol)
    return [row["value"] for row in rows if tuple(row[key] for key in keys) == place]


def files_below(folder):
    return {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*.png")}


def column(path, name):
    return [row[name] for row in csv.DictReader(path.open())]


def test_an_untrained_field_is_feature_bicubic_exactly(values, photos, autoencoder, tmp_path):
    rows = run(values, photos, autoencoder, tmp_path)
    for metric in ("psnr", "ssim", "rgb_l1", "feature_l1", "hf_error"):
        assert cells(rows, "fsr", metric) == cells(rows, "feature_bicubic", metric) == cells(rows, "fsr_euler4", metric)
    assert cells(rows, "fsr_eta0.05", "feature_l1") != cells(rows, "fsr", "feature_l1")


def test_the_ceiling_reaches_its_target_and_nothing_else_does(values, photos, autoencoder, tmp_path):
    rows = run(values, photos, autoencoder, tmp_path)
    assert [float(v) for v in cells(rows, "vae_roundtrip", "psnr")] == [math.inf] * 2
    for row in ROWS[:-1]:
        assert all(math.isfinite(float(v)) for v in cells(rows, row, "psnr"))


def test_every_cell_has_a_number_or_a_reason(values, photos, autoencoder, tmp_path):
    rows = run(values, photos, autoencoder, tmp_path)
    assert all(bool(row["value"]) != bool(row["reason"]) for row in rows)
    assert {row["reason"] for row in rows if row["upscaler"] == "bicubic" and row["metric"] == "feature_l1"} == {
        "not a method in feature space"
    }
    assert not [row for row in rows if "lpips" in row["metric"]], "what is skipped has no cells"
    assert len({tuple(row[k] for k in ("image", "upscaler", "target", "metric")) for row in rows}) == len(rows)


def test_it_repeats_to_the_byte_and_a_moved_field_differs(values, photos, autoencoder, tmp_path):
    for name, moved in (("a", True), ("b", True), ("c", False)):
        run(values, photos, autoencoder, tmp_path / name, moved)
    a, b, c = ((tmp_path / name / "t.csv").read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_images_of_any_sizes_encoded_together_measure_the_same(values, autoencoder, tmp_path):
    folder = tmp_path / "mixed"
    folder.mkdir()
    source = np.random.default_rng(0)
    for index, (height, width) in enumerate(((48, 64), (64, 48), (48, 64), (48, 64))):
        Image.fromarray(source.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(folder / f"{index}.png")
    files = [{"name": file.name, "sha256": ""} for file in sorted(folder.iterdir())]
    manifest = write_json(folder / "manifest.json", {"name": "Mixed", "available": True, "files": files})
    found = []
    for batch in (1, 3):
        values["benchmark"]["batch"] = batch
        rows = run(values, manifest, autoencoder, tmp_path / str(batch))
        found.append({tuple(row.values())[:7]: float(row["value"]) for row in rows if row["value"]})
    assert found[0].keys() == found[1].keys()
    assert {key: found[1][key] for key in found[0]} == pytest.approx(found[0], rel=1e-3, abs=1e-4)


def test_pictures_are_the_measured_outputs(values, photos, autoencoder, tmp_path):
    rows = run(values, photos, autoencoder, tmp_path, moved=True)
    pictures = tmp_path / "images"
    a, b = (read_image(pictures / row / "0.png")[..., 2:-2, 2:-2] for row in ("fsr", "vae_roundtrip"))
    assert a.shape[-2:] == (28, 60)
    measured = float(cells(rows, "fsr", "psnr")[0])
    assert -10 * math.log10((a.double() - b.double()).square().mean()) == pytest.approx(measured, abs=1e-5)
    assert read_image(pictures / "lr" / "0.png").shape[-2:] == (16, 32)


def test_every_protocol_is_measured_as_if_alone_and_the_first_is_shown(values, photos, autoencoder, tmp_path):
    both = run(values, photos, autoencoder, tmp_path / "both", protocols=("strict", "prototype"))
    alone = {name: run(values, photos, autoencoder, tmp_path / name, protocols=(name,)) for name in PROTOCOLS}
    for name in PROTOCOLS:
        assert [row for row in both if row["protocol"] == name] == alone[name]
    assert cells(both, "bicubic", "psnr", "hr") != cells(both, "bicubic", "psnr", "hr", "prototype")
    for picture in (tmp_path / "strict/images").rglob("*.png"):
        shown = tmp_path / "both/images" / picture.relative_to(tmp_path / "strict/images")
        assert shown.read_bytes() == picture.read_bytes()
    first, second = (read_image(tmp_path / name / "images/bicubic/0.png") for name in PROTOCOLS)
    assert not torch.equal(first, second)


def test_prototype_cells_are_those_of_floats(values, photos, autoencoder, tmp_path):
    rows = run(values, photos, autoencoder, tmp_path, protocols=("prototype",))
    sample = PROTOCOLS["prototype"].sample(read_image(photos.parent / "0.png"), autoencoder, 2)
    with torch.inference_mode():
        error = (sample.resampling.enlarge(sample.x_L, 2).clamp(0, 1) - sample.x_H).double()
    measured = float(cells(rows, "bicubic", "psnr", "hr", "prototype")[0])
    assert measured == pytest.approx(-10 * math.log10(error.square().mean()), abs=1e-5)
    assert float(cells(rows, "bicubic", "rgb_l1", "hr", "prototype")[0]) == pytest.approx(
        error.abs().mean().item(), rel=1e-6
    )


def test_perceptual_metrics_are_given_what_the_protocol_shows_them(values, photos, autoencoder, tmp_path, monkeypatch):
    sides = []

    class Difference(PerceptualMetric):
        def features(self, images):
            sides.append(tuple(images.shape[-2:]))
            return [images]

        def distance(self, of_images, of_targets):
            return (of_images[0] - of_targets[0]).abs().mean().item()

    network = torch.nn.Identity()
    metrics = [Difference("st_lpips", network), PerceptualMetric("lpips_vgg", None, "no weights")]
    monkeypatch.setattr("fsr.benchmark.rows.load_perceptual", lambda *_: metrics)
    rows = run(values, photos, autoencoder, tmp_path, protocols=("strict", "prototype"))
    assert set(sides) == {(32, 64), (32, 48), (256, 256)}
    assert all(float(value) > 0 for value in cells(rows, "bicubic", "st_lpips", "hr", "prototype"))
    assert {row["reason"] for row in rows if row["metric"] == "lpips_vgg"} == {"no weights"}


def test_base_only_takes_images_as_they_are(values, photos, autoencoder, tmp_path):
    rows = run(values, photos, autoencoder, tmp_path, moved=True, paired=False)
    assert {row["upscaler"] for row in rows} == set(ROWS) - {"vae_roundtrip"}
    assert {row["target"] for row in rows} == {"lr"}
    assert read_image(tmp_path / "images/lr/0.png").shape[-2:] == (40, 64), "whole, but for what the encoder takes"
    assert read_image(tmp_path / "images/fsr/0.png").shape[-2:] == (80, 128)
    assert not (tmp_path / "images/hr").exists()


def test_base_preservation_of_paired_images_is_against_their_low_resolution(values, photos, autoencoder, tmp_path):
    rows = run(values, photos, autoencoder, tmp_path, moved=True)
    small, x_L = (read_image(tmp_path / f"images/{row}/0.png") for row in ("bicubic", "lr"))
    error = (shrink(small, 2) - x_L).double().square().mean()
    assert float(cells(rows, "bicubic", "base_psnr", "lr")[0]) == pytest.approx(-10 * math.log10(error), abs=1e-5)
    gains = [float(cells(rows, row, "hf_gain", "lr")[0]) for row in ("decoded_bicubic", "fsr")]
    assert gains[0] == 1.0
    assert gains[1] != 1.0


def test_a_set_that_is_not_available_has_a_line_with_the_reason(values, absent, autoencoder, tmp_path):
    rows = run(values, absent, autoencoder, tmp_path, protocols=("strict", "prototype"))
    named = [{key: value for key, value in row.items() if value} for row in rows]
    line = {"scale": "2", "set": "Manga109", "reason": "on request only"}
    assert named == [{"protocol": "strict", **line}, {"protocol": "prototype", **line}]
    assert list(rows[0]) == ["protocol", "scale", "set", "image", "upscaler", "target", "metric", "value", "reason"]
    assert list((tmp_path / "images").iterdir()) == []


@pytest.mark.parametrize("shards", [2, 3, 9])
def test_any_number_of_shards_gives_the_same_bytes(values, photos, autoencoder, tmp_path, shards):
    study = {"moved": True, "protocols": ("strict", "prototype")}
    run(values, photos, autoencoder, tmp_path / "one", **study)
    run(values, photos, autoencoder, tmp_path / "many", **study, shards=shards)
    assert files_below(tmp_path / "many/images") == files_below(tmp_path / "one/images")
    assert (tmp_path / "many/t.csv").read_bytes() == (tmp_path / "one/t.csv").read_bytes()
    made = [column(tmp_path / f"many/{shard}/t.csv", "image") for shard in range(shards)]
    assert sum(map(len, made)) == len(column(tmp_path / "one/t.csv", "image"))
    assert [set(images) for images in made if images] == [{"0"}, {"1"}], "the images are shared out, each to one"


def test_any_number_of_shards_tells_why_a_set_is_not_available(values, absent, autoencoder, tmp_path):
    one, two = (run(values, absent, autoencoder, tmp_path / str(shards), shards=shards) for shards in (1, 2))
    assert one == two
    assert len(one) == 1


def test_shards_of_other_rows_are_not_joined(values, photos, autoencoder, tmp_path):
    run(values, photos, autoencoder, tmp_path, shards=2)
    values["benchmark"]["upscalers"] = [name for name in ROWS if name != "fsr_euler4"]
    shards = [files_in(tmp_path / str(shard)) for shard in range(2)]
    with pytest.raises(ValueError, match="differ from benchmark.upscalers in fsr_euler4; delete them"):
        join_rows(validated(Params, values, "test"), shards, files_in(tmp_path / "joined"))


def test_what_is_encoded_together_stays_in_one_share(values):
    values["benchmark"] |= {"batch": 3, "shards": 2}
    params, images = validated(Params, values, "test"), [Path(f"{number}.png") for number in range(8)]
    shares = [share(images, shard, params) for shard in range(2)]
    assert [*shares[0], *shares[1]] == images
    assert [len(each) for each in shares] == [3, 5]


def test_one_field_is_measured_at_each_of_its_scales(values, autoencoder, tmp_path):
    photos = photos_of(tmp_path / "large", (72, 130))
    both = {"moved": True, "scales": [2, 4]}
    two, four = (run(values, photos, autoencoder, tmp_path / str(s), **both, scale=s) for s in (2, 4))
    assert {row["scale"] for row in two} == {"2"}
    assert {row["scale"] for row in four} == {"4"}
    assert float(cells(four, "bicubic", "psnr", "hr")[0]) < float(cells(two, "bicubic", "psnr", "hr")[0])
    sides = [read_image(tmp_path / f"{s}/images/{row}/0.png").shape[-2:] for s in (2, 4) for row in ("lr", "fsr")]
    assert sides == [(32, 64), (64, 128), (16, 32), (64, 128)]


def test_every_row_of_the_field_tells_it_the_scale(values, photos, autoencoder):
    values["scales"], values["latents"]["crop_size"] = [2, 4], 64
    params = validated(Params, values, "test")
    field, seen = build_field(params, "f3", autoencoder), []
    field.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[3]))
    rows = build_upscalers([name for name in ROWS if name.startswith("fsr")], field)
    for scale in (2, 4):
        sample = PROTOCOLS["strict"].sample(read_image(photos.parent / "0.png"), autoencoder, scale)
        with torch.inference_mode():
            for row in rows:
                row(sample)
        assert len(seen) > len(rows)
        assert set(seen) == {scale}
        seen.clear()


def test_a_field_for_another_scale_is_refused(values, autoencoder, tmp_path):
    photos = photos_of(tmp_path / "large", (72, 130))
    with pytest.raises(ValueError, match=r"scale 4 is not one this field was trained for; choose one of \[2\]"):
        run(values, photos, autoencoder, tmp_path, scale=4)


def test_an_unknown_row_lists_the_known_ones(values, autoencoder):
    field = build_field(validated(Params, values, "test"), "f3", autoencoder)
    with pytest.raises(ValueError, match="'magic' is unknown; choose among bicubic, "):
        build_upscalers(["magic"], field)
    values["benchmark"]["upscalers"] += ["magic"]
    with pytest.raises(ValueError, match="names magic; choose among bicubic, .*, lua_steps_ensemble, lua_time"):
        validated(Params, values, "test")
