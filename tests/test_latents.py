import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from fsr.crops import plan_splits, read_crops
from fsr.datasets import Dataset, Found, materialise
from fsr.files import read_json, sha256_of_file
from fsr.images import shrink
from fsr.latents import LatentCache, Sources, encode_shard, join_shards


def image_set(folder, manifest, name="P"):
    """Manifest of a set of three images whose pixels tell their place: red is x, green is y."""
    folder.mkdir(parents=True)
    for index, (height, width) in enumerate(((64, 160), (150, 60), (50, 50))):
        y, x = np.mgrid[:height, :width].astype(np.uint8)
        Image.fromarray(np.stack([x, y, np.full_like(x, index)], axis=2)).save(folder / f"{index}.png")
    dataset = Dataset(name, (), "train", 3, 0, "manual", (), 0, "", (), (), "", "", "")
    materialise(dataset, Found({file.stem: file for file in sorted(folder.iterdir())}, "folder"), manifest)
    return manifest


@pytest.fixture
def photos(tmp_path):
    return image_set(tmp_path / "photos", tmp_path / "raw/manifest.json")


def build(params, photos, autoencoder, manifest, *, seed=0, validation=(), **changes):
    """The cache, encoded shard by shard."""
    latents = params.latents.model_copy(update=changes)
    params = params.model_copy(update={"latents": latents, "seed": seed})
    notes = [manifest.parent / f"shards/{shard}.json" for shard in range(latents.shards)]
    for shard, note in enumerate(notes):
        encode_shard(params, Sources([photos], list(validation)), autoencoder, shard, note)
    join_shards(notes, manifest)
    return manifest


def contents(manifest):
    return {file.name: file.read_bytes() for file in manifest.parent.iterdir() if file.is_file()}


def test_the_same_params_give_the_same_bytes_and_another_seed_others(params, photos, autoencoder, tmp_path):
    first = contents(build(params, photos, autoencoder, tmp_path / "a/manifest.json"))
    assert first == contents(build(params, photos, autoencoder, tmp_path / "b/manifest.json"))
    other = contents(build(params, photos, autoencoder, tmp_path / "c/manifest.json", seed=1))
    assert all(first[name] != data for name, data in other.items())


@pytest.mark.parametrize("shards", [2, 3, 9])
def test_any_number_of_shards_makes_the_same_bytes(params, photos, autoencoder, tmp_path, shards):
    whole = build(params, photos, autoencoder, tmp_path / "one/manifest.json", file_crops=3)
    split = build(params, photos, autoencoder, tmp_path / "many/manifest.json", file_crops=3, shards=shards)
    assert contents(whole) == contents(split)
    assert len(contents(whole)) == 1 + 4 + 1


def test_shards_are_independent_and_share_the_work(params, photos, autoencoder, tmp_path):
    latents = params.latents.model_copy(update={"file_crops": 3, "shards": 2})
    params = params.model_copy(update={"latents": latents})
    encode_shard(params, Sources([photos], []), autoencoder, 1, tmp_path / "cache/shards/1.json")
    made = {file.name for file in (tmp_path / "cache").glob("*.safetensors")}
    assert made == {"train-000003.safetensors", "train-000009.safetensors"}


def test_notes_of_different_caches_are_not_joined(params, photos, autoencoder, tmp_path):
    build(params, photos, autoencoder, tmp_path / "a/manifest.json", seed=0)
    build(params, photos, autoencoder, tmp_path / "b/manifest.json", seed=1)
    with pytest.raises(ValueError, match="are of different caches; delete them"):
        join_shards([tmp_path / "a/shards/0.json", tmp_path / "b/shards/0.json"], tmp_path / "a/manifest.json")


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


def test_low_resolution_crops_are_made_as_the_protocol_says(params, photos, autoencoder, tmp_path):
    cache = LatentCache(build(params, photos, autoencoder, tmp_path / "manifest.json", protocol="prototype"))
    batch = cache.batch([0])
    aliased = shrink(batch.crop.float() / 255, 2, antialias=False, rounded=False)
    with torch.inference_mode():
        assert torch.allclose(batch.z_L, autoencoder.encode(aliased), atol=1e-5)


def test_crops_are_those_planned_flips_included(params, photos, autoencoder, tmp_path):
    cache = LatentCache(build(params, photos, autoencoder, tmp_path / "manifest.json"))
    plan = plan_splits(sorted(photos.parent.glob("*.png")), [], params.latents, 0)["train"]
    for crop, pixels in zip(plan, cache.batch(list(range(len(cache)))).crop, strict=True):
        x = pixels[0, 0].int().tolist()
        y = pixels[1, :, 0].int().tolist()
        assert x == sorted(range(crop.left, crop.left + 48), reverse=crop.flip_horizontal)
        assert y == sorted(range(crop.top, crop.top + 48), reverse=crop.flip_vertical)


def test_held_out_crops_come_from_the_validation_sets_where_there_are_any(params, photos, autoencoder, tmp_path):
    other = image_set(tmp_path / "others", tmp_path / "raw2/manifest.json", "Q")
    manifest = build(params, photos, autoencoder, tmp_path / "manifest.json", validation=[other])
    description = read_json(manifest)["made_by"]
    assert description["validation"] == ["Q"]
    assert set(description["datasets"]) == {"P", "Q"}


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
    assert len(calls) == 1 + 1 + 2, "the finished file was not made again"


def test_files_of_other_parameters_are_not_taken_over(params, photos, autoencoder, tmp_path):
    build(params, photos, autoencoder, tmp_path / "a/manifest.json")
    manifest = build(params, photos, autoencoder, tmp_path / "a/manifest.json", seed=5)
    assert contents(manifest) == contents(build(params, photos, autoencoder, tmp_path / "b/manifest.json", seed=5))


def test_the_manifest_describes_the_files_and_damage_is_found(params, photos, autoencoder, tmp_path):
    manifest = build(params, photos, autoencoder, tmp_path / "manifest.json")
    description = read_json(manifest)
    files = description["splits"]["train"]["files"]
    assert [file["count"] for file in files] == [8, 4]
    assert description["tensors"]["z_H"] == {"shape": [4, 6, 6], "dtype": "F32"}
    assert description["tensors"]["crop"] == {"shape": [3, 48, 48], "dtype": "U8"}
    cache = LatentCache(manifest)
    cache.verify()
    path = manifest.parent / files[0]["file"]
    assert sha256_of_file(path) == files[0]["sha256"]
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="does not match its manifest"):
        cache.verify()
    path.unlink()
    with pytest.raises(FileNotFoundError, match="latent file .* is missing"):
        LatentCache(manifest)


def test_moving_a_cache_keeps_it_whole(params, photos, autoencoder, tmp_path):
    manifest = build(params, photos, autoencoder, tmp_path / "a/manifest.json")
    shutil.move(tmp_path / "a", tmp_path / "b")
    assert len(LatentCache(tmp_path / "b" / manifest.name, "validation")) == 2
