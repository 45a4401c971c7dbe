import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from fsr.datasets import Dataset, listing_sha256, materialise
from fsr.files import read_json, sha256_of_file
from fsr.images import shrink
from fsr.latents import LatentCache, build_cache, plan_crops, read_crops


@pytest.fixture
def photos(tmp_path):
    """Manifest of a set of three images whose pixels tell their place: red is x, green is y."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for index, (height, width) in enumerate(((64, 160), (150, 60), (50, 50))):
        y, x = np.mgrid[:height, :width].astype(np.uint8)
        Image.fromarray(np.stack([x, y, np.full_like(x, index)], axis=2)).save(folder / f"{index}.png")
    files = sorted(folder.iterdir())
    manifest = tmp_path / "raw/manifest.json"
    materialise(Dataset("P", "train", 3, "mirror", ("",), listing_sha256(files), "", ""), manifest, folder=str(folder))
    return manifest


def build(params, photos, autoencoder, manifest, **changes):
    latents = params.latents.model_copy(update=changes)
    build_cache(latents, [photos], autoencoder, manifest, scale=2, seed=0, autocast="float32")
    return manifest


def contents(manifest):
    return {file.name: file.read_bytes() for file in manifest.parent.iterdir()}


def test_the_same_params_give_the_same_bytes_and_another_seed_others(params, photos, autoencoder, tmp_path):
    first = contents(build(params, photos, autoencoder, tmp_path / "a/manifest.json"))
    assert first == contents(build(params, photos, autoencoder, tmp_path / "b/manifest.json"))
    build_cache(
        params.latents, [photos], autoencoder, tmp_path / "c/manifest.json", scale=2, seed=1, autocast="float32"
    )
    assert all(first[name] != data for name, data in contents(tmp_path / "c/manifest.json").items())


def test_it_holds_what_the_autoencoder_makes_of_the_crops(params, photos, autoencoder, tmp_path):
    cache = LatentCache(build(params, photos, autoencoder, tmp_path / "manifest.json"))
    batch = cache.batch([9, 0])
    assert len(cache) == params.latents.crops
    with torch.inference_mode():
        x_H = batch.crop.float() / 255
        assert torch.allclose(batch.z_H, autoencoder.encode(x_H), atol=1e-5)
        assert torch.allclose(batch.z_L, autoencoder.encode(shrink(x_H, 2)), atol=1e-5)
        assert torch.allclose(batch.x_H_rec, autoencoder.decode(batch.z_H), atol=1e-3)
        assert torch.allclose(batch.x_L_rec, autoencoder.decode(batch.z_L), atol=1e-3)


def test_crops_are_those_planned_flips_included(params, photos, autoencoder, tmp_path):
    cache = LatentCache(build(params, photos, autoencoder, tmp_path / "manifest.json"))
    files = sorted(photos.parent.glob("*.png"))
    plan = plan_crops(files, params.latents, 0, "train")
    for crop, pixels in zip(plan, cache.batch(list(range(len(cache)))).crop, strict=True):
        x = pixels[0, 0].int().tolist()
        y = pixels[1, :, 0].int().tolist()
        assert x == sorted(range(crop.left, crop.left + 48), reverse=crop.flip_horizontal)
        assert y == sorted(range(crop.top, crop.top + 48), reverse=crop.flip_vertical)


def test_held_out_crops_touch_no_training_crop(params, photos):
    files = sorted(photos.parent.glob("*.png"))
    many = params.latents.model_copy(update={"crops": 200, "validation_crops": 100})
    covered = {file: np.zeros((160, 160), dtype=bool) for file in files}
    for crop in plan_crops(files, many, 0, "train"):
        covered[crop.file][crop.top : crop.top + 48, crop.left : crop.left + 48] = True
    held_out = plan_crops(files, many, 0, "validation")
    assert not any(covered[c.file][c.top : c.top + 48, c.left : c.left + 48].any() for c in held_out)
    assert {crop.file.name for crop in held_out} == {"0.png", "1.png"}, "the small image can spare no band"


def test_more_crops_extend_the_plan(params, photos):
    files = sorted(photos.parent.glob("*.png"))
    few, many = (plan_crops(files, params.latents.model_copy(update={"crops": n}), 0, "train") for n in (5, 9))
    assert many[:5] == few


def test_an_interrupted_run_goes_on_and_ends_with_the_same_bytes(params, photos, autoencoder, tmp_path, monkeypatch):
    whole = contents(build(params, photos, autoencoder, tmp_path / "whole/manifest.json"))
    calls = []

    def interrupted(crops, size):
        calls.append(crops)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return read_crops(crops, size)

    manifest = tmp_path / "stopped/manifest.json"
    monkeypatch.setattr("fsr.latents.read_crops", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build(params, photos, autoencoder, manifest)
    assert not manifest.exists()
    build(params, photos, autoencoder, manifest)
    assert contents(manifest) == whole
    assert len(calls) == 1 + 1 + 2, "the finished shard was not made again"


def test_shards_of_other_parameters_are_not_taken_over(params, photos, autoencoder, tmp_path):
    manifest = build(params, photos, autoencoder, tmp_path / "a/manifest.json")
    build_cache(params.latents, [photos], autoencoder, manifest, scale=2, seed=5, autocast="float32")
    build_cache(
        params.latents, [photos], autoencoder, tmp_path / "b/manifest.json", scale=2, seed=5, autocast="float32"
    )
    assert contents(manifest) == contents(tmp_path / "b/manifest.json")


def test_the_manifest_describes_the_shards_and_damage_is_found(params, photos, autoencoder, tmp_path):
    manifest = build(params, photos, autoencoder, tmp_path / "manifest.json")
    description = read_json(manifest)
    shards = description["splits"]["train"]["shards"]
    assert [shard["count"] for shard in shards] == [8, 4]
    assert description["tensors"]["z_H"] == {"shape": [4, 6, 6], "dtype": "F32"}
    assert description["tensors"]["crop"] == {"shape": [3, 48, 48], "dtype": "U8"}
    cache = LatentCache(manifest)
    cache.verify()
    path = manifest.parent / shards[0]["file"]
    assert sha256_of_file(path) == shards[0]["sha256"]
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="does not match its manifest"):
        cache.verify()
    path.unlink()
    with pytest.raises(FileNotFoundError, match="latent shard .* is missing"):
        LatentCache(manifest)


def test_an_image_smaller_than_a_crop_is_named(params, photos, tmp_path):
    small = tmp_path / "small.png"
    Image.new("RGB", (8, 8)).save(small)
    with pytest.raises(ValueError, match=r"small\.png \(8x8\) is smaller than latents\.crop_size 48; remove it"):
        plan_crops([small], params.latents, 0, "train")


def test_a_rotated_photo_is_planned_as_it_is_read(params, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (120, 50)).save(tmp_path / "turned.jpg", exif=exif)
    crops = plan_crops([tmp_path / "turned.jpg"], params.latents, 0, "train")
    assert max(crop.top for crop in crops) > 2 >= max(crop.left for crop in crops)
    assert read_crops(crops, 48).shape == (12, 3, 48, 48)


def test_nothing_to_hold_out_is_an_error(params, tmp_path):
    Image.new("RGB", (50, 50)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="hold out validation crops; lower"):
        plan_crops([tmp_path / "a.png"], params.latents, 0, "validation")


def test_moving_a_cache_keeps_it_whole(params, photos, autoencoder, tmp_path):
    manifest = build(params, photos, autoencoder, tmp_path / "a/manifest.json")
    shutil.move(tmp_path / "a", tmp_path / "b")
    assert len(LatentCache(tmp_path / "b" / manifest.name, "validation")) == 2
