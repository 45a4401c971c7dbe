import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from fsr.datasets import Dataset, find_files, listing_sha256, lookup, manifest_files, materialise, read_registry
from fsr.files import read_json


@pytest.fixture
def registry(root):
    return read_registry(root / "data/datasets.csv")


@pytest.fixture
def mirrored(tmp_path) -> tuple[Dataset, str]:
    """A registered set of two images in a mirror with two folders."""
    mirror = tmp_path / "mirror"
    files = []
    for index, part in enumerate(("train", "test")):
        folder = mirror / "datasets/Some" / part
        folder.mkdir(parents=True)
        pixels = np.full((4, 4, 3), index, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
        files.append(folder / f"{index}.png")
    dataset = Dataset("Some", "train", 2, "mirror", ("Some/train", "Some/test"), listing_sha256(files), "none", "Ask.")
    return dataset, str(mirror)


@pytest.mark.parametrize("name", ["EmbeddedTrain", "Embedded5"])
def test_the_embedded_sets_are_installed_with_the_registered_content(registry, name):
    assert len(find_files(registry[name])) == registry[name].images


def test_embedded_sets_share_no_image(registry):
    train, test = ({file.name for file in find_files(registry[name])} for name in ("EmbeddedTrain", "Embedded5"))
    assert not train & test


def test_an_unknown_set_lists_the_known_ones(registry):
    with pytest.raises(ValueError, match="'Set6' is not in the registry; choose one of .*Set5"):
        lookup(registry, "Set6")


def test_a_mirror_is_found_by_argument_or_environment(mirrored, monkeypatch):
    dataset, mirror = mirrored
    assert [file.name for file in find_files(dataset, mirror=mirror)] == ["0.png", "1.png"]
    monkeypatch.setenv("FSR_MIRROR", mirror)
    assert len(find_files(dataset)) == 2


def test_a_set_that_is_nowhere_says_how_to_get_it(mirrored, monkeypatch):
    monkeypatch.delenv("FSR_MIRROR", raising=False)
    with pytest.raises(FileNotFoundError, match=r"set FSR_MIRROR .*data\.folders\.Some to a folder\. Ask\."):
        find_files(mirrored[0])


def test_other_content_is_refused(mirrored, tmp_path):
    dataset, mirror = mirrored
    with pytest.raises(ValueError, match="does not have the registered content"):
        find_files(replace(dataset, sha256="0" * 64), mirror=mirror)
    extra = tmp_path / "mine"
    shutil.copytree(f"{mirror}/datasets/Some/train", extra)
    with pytest.raises(ValueError, match="1 files"):
        find_files(dataset, folder=str(extra))


def test_a_missing_package_file_is_named(registry):
    broken = replace(registry["Embedded5"], location=("skimage/data/none.png",))
    with pytest.raises(FileNotFoundError, match=r"needs skimage/data/none\.png.*Install scikit-image"):
        find_files(broken)


def test_a_materialised_set_is_whole_and_verified(mirrored, tmp_path):
    dataset, mirror = mirrored
    manifest = tmp_path / "raw/Some/manifest.json"
    materialise(dataset, manifest, mirror=mirror)
    assert listing_sha256(manifest_files(manifest)) == dataset.sha256
    assert read_json(manifest)["sha256"] == dataset.sha256
    manifest_files(manifest)[0].unlink()
    with pytest.raises(FileNotFoundError, match=r"0\.png is missing though .*delete the manifest"):
        manifest_files(manifest)


def test_a_registry_without_a_column_is_refused(tmp_path):
    (tmp_path / "datasets.csv").write_text("name,role\nA,test\n")
    with pytest.raises(ValueError, match="must have the columns"):
        read_registry(tmp_path / "datasets.csv")
