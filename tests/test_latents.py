import pickle
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from fsr.crops import plan_splits, read_crops
from fsr.datasets import Dataset, Found, materialise
from fsr.files import read_json, sha256_of_file
from fsr.images import shrink
from fsr.latents import LatentBatch, LatentCache, Sources, encode_shard, join_shards

TENSORS = ("z_H", "z_L", "crop", "x_H_rec", "x_L_rec")


def image_set(folder, manifest, name="P", sizes=((64, 160), (150, 60), (50, 50))):
    """Manifest of a set of images (height, width) whose pixels tell their place: red is x, green is y."""
    folder.mkdir(parents=True)
    for index, (height, width) in enumerate(sizes):
        y, x = np.mgrid[:height, :width].astype(np.uint8)
        Image.fromarray(np.stack([x, y, np.full_like(x, index)], axis=2)).save(folder / f"{index}.png")
    dataset = Dataset(name, (), "train", len(sizes), 0, "manual", (), 0, "", (), (), "", "", "private", "")
    materialise(dataset, Found({file.stem: file for file in sorted(folder.iterdir())}, "folder"), manifest)
    return manifest


@pytest.fixture
def photos(tmp_path):
    return image_set(tmp_path / "photos", tmp_path / "raw/manifest.json")


def build(params, photos, autoencoder, manifest, *, seed=0, scales=(2,), validation=(), **changes):
    """The cache, encoded shard by shard."""
    latents = params.latents.model_copy(update=changes)
    params = params.model_copy(update={"latents": latents, "seed": seed, "scales": list(scales)})
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
    batch = cache.batch([9, 0], 2)
    assert len(cache) == params.latents.crops
    with torch.inference_mode():
        x_H = batch.crop.float() / 255
        assert torch.allclose(batch.z_H, autoencoder.encode(x_H), atol=1e-5)
        assert torch.allclose(batch.z_L, autoencoder.encode(shrink(x_H, 2)), atol=1e-5)
        assert torch.allclose(batch.x_H_rec, autoencoder.decode(batch.z_H), atol=1e-3)
        assert torch.allclose(batch.x_L_rec, autoencoder.decode(batch.z_L), atol=1e-3)


def test_a_scale_is_the_same_bits_whichever_others_there_are(params, photos, autoencoder, tmp_path):
    caches = {
        scales: LatentCache(
            build(params, photos, autoencoder, tmp_path / f"{scales}.json", scales=scales, crop_size=32)
        )
        for scales in ((2,), (4,), (2, 4))
    }
    both, indices = caches[2, 4], list(range(params.latents.crops))
    for scale in (2, 4):
        alone, among = (cache.batch(indices, scale) for cache in (caches[scale,], both))
        assert (alone.scale, among.scale) == (scale, scale)
        for name in TENSORS:
            assert torch.equal(getattr(alone, name), getattr(among, name)), (scale, name)
        assert among.z_L.shape[-1] == 32 // 8 // scale
        assert among.x_L_rec.shape[-1] == 32 // scale
        with torch.inference_mode():
            x_L = shrink(among.crop.float() / 255, scale)
            assert torch.allclose(among.z_L, autoencoder.encode(x_L), atol=1e-5)
    assert both.description["made_by"]["scales"] == [2, 4]


def test_a_scale_the_cache_was_not_made_for_names_those_it_has(params, photos, autoencoder, tmp_path):
    cache = LatentCache(build(params, photos, autoencoder, tmp_path / "manifest.json"))
    with pytest.raises(
        ValueError, match=r"scale 4 is not in the cache .*manifest\.json, which has 2; add it to scales"
    ):
        cache.batch([0], 4)
    with pytest.raises(ValueError, match="scale 4 is not in"):
        next(cache.batches(1, 4))


def test_an_open_cache_serves_other_processes(params, photos, autoencoder, tmp_path):
    """Forked workers inherit what their parent opened; spawned ones are sent a copy that opens the files itself."""
    cache = LatentCache(build(params, photos, autoencoder, tmp_path / "manifest.json", file_crops=3))
    expected = cache.batch(list(range(len(cache))), 2)
    loader = DataLoader(
        range(len(cache)),
        4,
        num_workers=2,
        collate_fn=lambda indices: cache.batch(indices, 2),
        multiprocessing_context="fork",
    )
    parts = list(loader)
    assert [len(part.crop) for part in parts] == [4, 4, 4]
    for name in TENSORS:
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(expected, name)), name
    copy = pickle.loads(pickle.dumps(cache))
    assert torch.equal(copy.batch([5], 2).z_H, expected.z_H[5:6])


def test_a_batch_moves_whole_and_keeps_its_scale(monkeypatch):
    batch = LatentBatch(**dict.fromkeys(TENSORS, torch.zeros(1)), scale=4)
    moved = batch.to("meta")
    assert {getattr(moved, name).device.type for name in TENSORS} == {"meta"}
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor + 1)
    pinned = batch.pin_memory()
    assert all(getattr(pinned, name) == 1 for name in TENSORS)
    assert (moved.scale, pinned.scale) == (4, 4)


def test_low_resolution_crops_are_made_as_the_protocol_says(params, photos, autoencoder, tmp_path):
    cache = LatentCache(build(params, photos, autoencoder, tmp_path / "manifest.json", protocol="prototype"))
    batch = cache.batch([0], 2)
    aliased = shrink(batch.crop.float() / 255, 2, antialias=False, rounded=False)
    with torch.inference_mode():
        assert torch.allclose(batch.z_L, autoencoder.encode(aliased), atol=1e-5)


def test_crops_are_those_planned_flips_included(params, photos, autoencoder, tmp_path):
    cache = LatentCache(build(params, photos, autoencoder, tmp_path / "manifest.json"))
    plan = plan_splits(sorted(photos.parent.glob("*.png")), [], params.latents, 0)["train"]
    for crop, pixels in zip(plan, cache.batch(list(range(len(cache))), 2).crop, strict=True):
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
