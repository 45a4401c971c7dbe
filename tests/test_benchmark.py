import csv
import math

import numpy as np
import pytest
import torch
from PIL import Image

from fsr.benchmark import benchmark_set
from fsr.config import Params, validated
from fsr.datasets import Dataset, listing_sha256, materialise
from fsr.flow.field import build_field
from fsr.images import read_image

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


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    source = np.random.default_rng(0)
    for index, (height, width) in enumerate(((40, 70), (33, 48))):
        small = source.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
        Image.fromarray(small).resize((width, height), Image.BICUBIC).save(folder / f"{index}.png")
    dataset = Dataset("Test2", "test", 2, "mirror", ("",), listing_sha256(sorted(folder.iterdir())), "", "")
    materialise(dataset, tmp_path / "raw/manifest.json", folder=str(folder))
    return tmp_path / "raw/manifest.json"


def run(values, photos, autoencoder, folder, moved: bool = False) -> list[dict[str, str]]:
    values["benchmark"] |= {"upscalers": ROWS}
    params = validated(Params, values, "test")
    field = build_field(params, "f3", autoencoder)
    if moved:
        torch.nn.init.normal_(field.out_velocity.weight, std=0.05)
    benchmark_set(params, photos, autoencoder, field, folder / "t.csv", folder / "images", 1)
    return list(csv.DictReader((folder / "t.csv").open()))


def cells(rows, upscaler, metric, target="x_H_rec"):
    return [r["value"] for r in rows if (r["upscaler"], r["metric"], r["target"]) == (upscaler, metric, target)]


def test_an_untrained_field_is_feature_bicubic_exactly(values, photos, autoencoder, tmp_path):
    rows = run(values, photos, autoencoder, tmp_path)
    for metric in ("psnr", "ssim", "rgb_l1", "feature_l1", "hf_error"):
        assert cells(rows, "fsr", metric) == cells(rows, "feature_bicubic", metric) == cells(rows, "fsr_euler4", metric)
    assert cells(rows, "fsr_eta0.05", "feature_l1") != cells(rows, "fsr", "feature_l1")


def test_the_ceiling_reaches_its_target_and_nothing_else_does(values, photos, autoencoder, tmp_path):
    rows = run(values, photos, autoencoder, tmp_path)
    assert [float(v) for v in cells(rows, "vae_roundtrip", "psnr")] == [math.inf] * 2
    assert [float(v) for v in cells(rows, "vae_roundtrip", "feature_l1")] == [0.0] * 2
    for row in ROWS[:-1]:
        assert all(math.isfinite(float(v)) for v in cells(rows, row, "psnr"))


def test_every_cell_has_a_number_or_a_reason(values, photos, autoencoder, tmp_path):
    rows = run(values, photos, autoencoder, tmp_path)
    assert all(bool(row["value"]) != bool(row["reason"]) for row in rows)
    assert {row["reason"] for row in rows if row["upscaler"] == "bicubic" and row["metric"] == "feature_l1"} == {
        "not a method in feature space"
    }
    assert {row["reason"] for row in rows if row["metric"] == "lpips"} == {"LPIPS is switched off (benchmark.lpips)"}
    assert len({tuple(row[k] for k in ("image", "upscaler", "target", "metric")) for row in rows}) == len(rows)


def test_it_repeats_to_the_byte_and_a_moved_field_differs(values, photos, autoencoder, tmp_path):
    for name, moved in (("a", True), ("b", True), ("c", False)):
        run(values, photos, autoencoder, tmp_path / name, moved)
    a, b, c = ((tmp_path / name / "t.csv").read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_pictures_are_the_measured_outputs(values, photos, autoencoder, tmp_path):
    rows = run(values, photos, autoencoder, tmp_path, moved=True)
    pictures = tmp_path / "images/Test2"
    a, b = (read_image(pictures / row / "0.png")[..., 2:-2, 2:-2] for row in ("fsr", "vae_roundtrip"))
    assert a.shape[-2:] == (28, 60)
    measured = float(cells(rows, "fsr", "psnr")[0])
    assert -10 * math.log10((a.double() - b.double()).square().mean()) == pytest.approx(measured, abs=1e-5)
    assert read_image(pictures / "lr" / "0.png").shape[-2:] == (16, 32)


def test_a_field_for_another_scale_is_refused(values, photos, autoencoder, tmp_path):
    field = build_field(validated(Params, values, "test"), "f3", autoencoder)
    values["scale"] = 4
    values["latents"]["crop_size"] = 64
    with pytest.raises(ValueError, match="trained for scale 2, not 4"):
        benchmark_set(
            validated(Params, values, "test"), photos, autoencoder, field, tmp_path / "t.csv", tmp_path / "images", 1
        )


def test_an_unknown_row_lists_the_known_ones(values, photos, autoencoder, tmp_path):
    values["benchmark"]["upscalers"] += ["magic"]
    params = validated(Params, values, "test")
    field = build_field(params, "f3", autoencoder)
    with pytest.raises(ValueError, match="'magic' is unknown; choose among bicubic, "):
        benchmark_set(params, photos, autoencoder, field, tmp_path / "t.csv", tmp_path / "images", 1)
