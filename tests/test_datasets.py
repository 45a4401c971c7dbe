import csv
import hashlib
import os
import shutil
import tempfile
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fsr.datasets import (
    Dataset,
    Found,
    Verdict,
    content_sha256,
    find,
    locate,
    lookup,
    manifest_files,
    materialise,
    note_absence,
    read_registry,
    verify,
)
from fsr.files import read_json, sha256_of_file

MIRRORED = {"Set5": 5, "Set14": 14, "B100": 100, "Urban100": 100, "BSDS500": 399}


@pytest.fixture
def registry(root):
    return read_registry(root / "data/datasets.csv")


@pytest.fixture
def no_mirror(monkeypatch):
    monkeypatch.delenv("FSR_MIRROR", raising=False)


def pixels(seed: int, height: int = 24, width: int = 36) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(file: Path, image: np.ndarray, **how) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(file, **how)
    return file


def write_images(folder: Path, count: int = 3) -> dict[str, Path]:
    return {f"{index}": save(folder / f"{index}.png", pixels(index)) for index in range(count)}


def write_manifest(mirror: Path) -> None:
    files = sorted(file for file in mirror.rglob("*.png"))
    lines = (f"{sha256_of_file(file)}  ./{file.relative_to(mirror).as_posix()}\n" for file in files)
    (mirror / "MANIFEST.sha256").write_text("".join(lines))


def registered(registry, files: dict[str, Path], **changes) -> Dataset:
    """Set5's row, as if these files were it."""
    content, area = content_sha256(list(files.values()))
    return replace(registry["Set5"], images=len(files), pixels=area, content=content, **changes)


def one_line(caught) -> str:
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_row_is_complete(registry):
    assert {"EmbeddedTrain", "Embedded5", "EmbeddedTiny", "DIV2K_train", "DIV2K_valid", "FLUX179", "Manga109"} | set(
        MIRRORED
    ) <= set(registry)
    for name, dataset in registry.items():
        assert dataset.name == name
        assert dataset.licence and dataset.by_hand.endswith("."), name
        assert dataset.images > 0, name
        assert bool(dataset.location) == (dataset.source in ("package", "hub", "http")), name
        assert bool(dataset.bytes) == bool(dataset.sha256), name
        assert len(dataset.sha256) in (0, 64) and len(dataset.content) in (0, 64), name
        if name in MIRRORED or dataset.source == "package":
            assert dataset.content and dataset.pixels, name
        if dataset.source == "hub":
            assert dataset.location[0].count(":") == 1, name
        if dataset.source == "http":
            assert dataset.location[0].startswith(("http://", "https://")), name
    assert registry["Manga109"].source == "manual", "it may not be fetched"


def test_no_two_sets_of_the_registry_answer_to_one_name_unless_they_are_halves_of_one(registry):
    owners: dict[str, set[str]] = {}
    for name, dataset in registry.items():
        for alias in (name, *dataset.aliases):
            owners.setdefault(alias.lower(), set()).add(name)
    shared = {alias: names for alias, names in owners.items() if len(names) > 1}
    assert shared == {"div2k": {"DIV2K_train", "DIV2K_valid"}}


def test_an_unknown_set_lists_the_known_ones(registry):
    with pytest.raises(ValueError, match="'Set6' is not in the registry; choose one of .*Set5"):
        lookup(registry, "Set6")
    assert lookup(registry, "Set5", {"Set5": "elsewhere"}) is registry["Set5"]


def test_a_folder_of_your_own_is_a_set_without_registered_content(registry, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "mine.png")
    mine = lookup(registry, "Mine", {"Mine": str(tmp_path)})
    found = find(mine, str(tmp_path))
    assert set(found.files) == {"mine"}
    assert not verify(mine, found).verified


def rewritten(root: Path, tmp_path: Path, *, drop: str = "", twice: bool = False, **cells: str) -> Path:
    """The registry with other cells in Set5's row, without a column, or with the row twice."""
    with (root / "data/datasets.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    (row,) = (row for row in rows if row["name"] == "Set5")
    row.update(cells)
    rows += [row] * twice
    with (tmp_path / "sets.csv").open("w", newline="") as handle:
        columns = [field.name for field in fields(Dataset) if field.name != drop]
        writer = csv.DictWriter(handle, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return tmp_path / "sets.csv"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"drop": "licence"}, "must have the columns name, aliases, .*by_hand and a row per set"),
        ({"images": "five"}, "set 'Set5': images 'five' is not a number; correct the row"),
        ({"bytes": "-1"}, "set 'Set5': bytes '-1' is not a number; correct the row"),
        ({"source": "htpp"}, "set 'Set5': source 'htpp' is none of package, hub, http, generated, manual; correct"),
        ({"role": ""}, "set 'Set5': role '' is none of train, test, reference; correct the row"),
        ({"location": ""}, "set 'Set5': source hub needs one location, not 0; correct the row"),
        ({"location": "a:b;c:d"}, "set 'Set5': source hub needs one location, not 2; correct the row"),
        ({"twice": True}, "set 'Set5': it is there twice; correct the row"),
    ],
)
def test_a_wrong_registry_is_refused_in_one_line(root, tmp_path, change, message):
    path = rewritten(root, tmp_path, **change)
    with pytest.raises(ValueError, match=message) as caught:
        read_registry(path)
    assert one_line(caught).startswith(str(path))


@pytest.mark.parametrize("more", ["", ",b,c"])
def test_a_row_of_too_few_or_too_many_cells_is_refused(root, tmp_path, more):
    header = (root / "data/datasets.csv").read_text().splitlines()[0]
    row = "A" + "," * (header.count(",") - 1) + more
    (tmp_path / "sets.csv").write_text(f"{header}\n{row}\n")
    with pytest.raises(ValueError, match="set 'A': it has not as many cells as there are columns; correct the row"):
        read_registry(tmp_path / "sets.csv")


@pytest.mark.parametrize("rows", ["", "name,role\n"])
def test_an_empty_registry_is_refused(tmp_path, rows):
    (tmp_path / "sets.csv").write_text(rows)
    with pytest.raises(ValueError, match="must have the columns"):
        read_registry(tmp_path / "sets.csv")


def test_the_embedded_sets_are_installed_with_the_registered_content_and_share_no_image(registry, no_mirror):
    images = {}
    for name in ("EmbeddedTrain", "Embedded5", "EmbeddedTiny"):
        found = find(registry[name])
        assert (found.source, len(found.files)) == ("package", registry[name].images)
        assert verify(registry[name], found) == Verdict(verified=True, cropped=False)
        images[name] = {content_sha256([file])[0] for file in found.files.values()}
    assert images["EmbeddedTrain"].isdisjoint(images["Embedded5"])
    assert images["EmbeddedTiny"] < images["Embedded5"]


@pytest.mark.skipif("FSR_MIRROR" not in os.environ, reason="FSR_MIRROR does not name a mirror of the public sets")
@pytest.mark.parametrize("name", MIRRORED)
def test_the_public_sets_are_whole_in_the_mirror(registry, name):
    found = find(registry[name])
    assert (found.source, len(found.files)) == ("mirror", MIRRORED[name])
    assert verify(registry[name], found) == Verdict(verified=True, cropped=False)


FORMATS = ((".png", {}), (".png", {"compress_level": 0}), (".bmp", {}), (".tif", {"compression": "tiff_lzw"}),
           (".webp", {"lossless": True}))  # fmt: skip


@settings(deadline=None, max_examples=30)
@given(
    sizes=st.lists(st.tuples(st.integers(12, 40), st.integers(12, 40)), min_size=1, max_size=4),
    seed=st.integers(0, 1000),
    data=st.data(),
)
def test_content_is_what_is_shown_whatever_its_names_order_encoding_and_margin(sizes, seed, data):
    images = [pixels(seed + index, *size) for index, size in enumerate(sizes)]
    with tempfile.TemporaryDirectory() as folder:
        files = [save(Path(folder, f"{index}.png"), image) for index, image in enumerate(images)]
        digest, area = content_sha256(files)
        assert area == sum(height * width for height, width in sizes)
        others = []
        for index, (height, width) in data.draw(st.permutations(list(enumerate(sizes)))):
            suffix, how = data.draw(st.sampled_from(FORMATS))
            multiple = data.draw(st.sampled_from([1, 2, 3, 4, 6, 12]))
            crop = images[index][: height // multiple * multiple, : width // multiple * multiple]
            others.append(save(Path(folder, f"other{len(others)}{suffix}"), crop, **how))
        assert content_sha256(others)[0] == digest

        place = data.draw(st.integers(0, len(images) - 1))
        height, width = (side // 12 * 12 for side in sizes[place])
        changed = images[place].copy()
        where = tuple(data.draw(st.integers(0, side - 1)) for side in (height, width, 3))
        changed[where] ^= 1
        save(files[place], changed)
        assert content_sha256(files)[0] != digest


def test_content_counts_each_image_once_and_all_of_them(tmp_path):
    one, two = write_images(tmp_path, 2).values()
    digests = {content_sha256(files)[0] for files in ([one], [two], [one, two], [one, one], [])}
    assert len(digests) == 5


def test_content_of_a_grey_file_is_that_of_the_same_picture_in_colour(tmp_path):
    grey = pixels(0)[..., 0]
    files = save(tmp_path / "a.png", grey), save(tmp_path / "b.png", np.repeat(grey[..., None], 3, axis=2))
    assert content_sha256(files[:1]) == content_sha256(files[1:])


def test_content_is_that_of_the_picture_as_its_camera_was_held(tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6  # to be shown turned clockwise
    files = save(tmp_path / "a.png", np.rot90(pixels(0)), exif=turned), save(tmp_path / "b.png", pixels(0))
    assert content_sha256(files[:1]) == content_sha256(files[1:])


@pytest.mark.parametrize("body", [b"", b"not an image", "truncated"])
def test_a_file_that_is_no_whole_image_is_named(tmp_path, body):
    file = save(tmp_path / "a.png", pixels(0))
    file.write_bytes(file.read_bytes()[:500] if body == "truncated" else body)
    with pytest.raises(ValueError, match="cannot be read as an image .*; fetch it again or remove it") as caught:
        content_sha256([file])
    assert one_line(caught).startswith(str(file))


def test_a_set_is_what_is_registered_and_a_cropped_copy_is_told(registry, tmp_path):
    images = {f"{index}": pixels(index, 30, 41) for index in range(3)}
    whole = {name: save(tmp_path / f"whole/{name}.png", image) for name, image in images.items()}
    cropped = {name: save(tmp_path / f"GTmod12/{name}.png", image[:24, :36]) for name, image in images.items()}
    dataset = registered(registry, whole)
    assert verify(dataset, Found(whole, "folder")) == Verdict(verified=True, cropped=False)
    assert verify(dataset, Found(cropped, "folder")) == Verdict(verified=True, cropped=True)
    unknown = replace(dataset, content="", pixels=0)
    assert verify(unknown, Found(cropped, "folder")) == Verdict(verified=False, cropped=False)


@pytest.mark.parametrize("missing", [1, 3])
def test_another_number_of_images_is_refused(registry, tmp_path, missing):
    files = write_images(tmp_path)
    dataset = registered(registry, files)
    left = dict(list(files.items())[missing:])
    place = tmp_path if left else "its folder"
    expected = f"^dataset Set5 in {place} has {3 - missing} images, not 3; fetch it again, or give it a row of its own"
    with pytest.raises(ValueError, match=expected) as caught:
        verify(dataset, Found(left, "folder"))
    one_line(caught)


def test_other_images_are_refused_and_the_folder_of_all_parts_is_named(registry, tmp_path):
    train, test = write_images(tmp_path / "train", 1)["0"], save(tmp_path / "test/1.png", pixels(1))
    files = {"0": train, "1": test}
    dataset = registered(registry, files)
    image = pixels(1)
    image[0, 0, 0] ^= 1
    save(test, image)
    message = (
        f"^dataset Set5 in {tmp_path} does not have the registered content .*{dataset.content[:12]}.*; fetch it again"
    )
    with pytest.raises(ValueError, match=message) as caught:
        verify(dataset, Found(files, "folder"))
    one_line(caught)
    archive = tmp_path / "set.tar.gz"
    with pytest.raises(ValueError, match=f"^dataset Set5 in {archive} does not .*; delete that file and run again, or"):
        verify(dataset, Found(files, "download", archive=archive))


def test_a_set_is_sought_in_its_folder_then_its_package_then_the_mirror(registry, tmp_path, monkeypatch, no_mirror):
    (tmp_path / "packages/fsrtestimages").mkdir(parents=True)
    (tmp_path / "packages/fsrtestimages/__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path / "packages")
    places = {
        "folder": tmp_path / "mine",
        "package": tmp_path / "packages/fsrtestimages",
        "mirror": tmp_path / "mirror/datasets/set5/HR",
    }
    for place in places.values():
        write_images(place, 1)
    write_manifest(tmp_path / "mirror")
    packaged = replace(registry["Set5"], source="package", location=("fsrtestimages/0.png",))
    folder, mirror = str(tmp_path / "mine"), str(tmp_path / "mirror")
    for dataset, where, expected in (
        (packaged, (folder, mirror), "folder"),
        (registry["Set5"], (folder, mirror), "folder"),
        (packaged, (None, mirror), "package"),
        (registry["Set5"], (None, mirror), "mirror"),
    ):
        found = find(dataset, *where)
        assert (found.source, found.files) == (expected, {"0": places[expected] / "0.png"})
        assert locate(dataset, *where) == found
    assert find(registry["Set5"]) is None
    monkeypatch.setenv("FSR_MIRROR", mirror)
    assert find(registry["Set5"]).variant == "HR"


def test_a_folder_that_lacks_the_set_is_an_error_though_the_mirror_has_it(registry, tmp_path):
    write_images(tmp_path / "mirror/datasets/Set5")
    write_manifest(tmp_path / "mirror")
    for folder in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(
            FileNotFoundError, match=rf"^no images of Set5 in {folder} \(data.folders\). Unpack"
        ) as caught:
            find(registry["Set5"], str(folder), str(tmp_path / "mirror"))
        one_line(caught)


@pytest.mark.parametrize("item", ["skimage/data/none.png", "fsr_no_such_package/a.png", "skimage"])
def test_what_is_not_installed_is_named(registry, item):
    broken = replace(registry["Embedded5"], location=(item,))
    with pytest.raises(
        FileNotFoundError, match=f"needs {item}, which is not installed. Install scikit-image"
    ) as caught:
        find(broken)
    one_line(caught)


def test_a_mirrors_copy_is_read_against_its_manifest_and_locating_it_reads_nothing(registry, tmp_path):
    files = write_images(tmp_path / "datasets/Set5/HR")
    write_manifest(tmp_path)
    save(files["1"], pixels(9))
    assert locate(registry["Set5"], mirror=str(tmp_path)).files == files
    with pytest.raises(ValueError, match="1.png does not match the mirror's MANIFEST.sha256; copy it again"):
        find(registry["Set5"], mirror=str(tmp_path))
    (tmp_path / "MANIFEST.sha256").unlink()
    with pytest.raises(FileNotFoundError, match="the mirror has no .*MANIFEST.sha256; make it"):
        find(registry["Set5"], mirror=str(tmp_path))
    assert find(registry["Set5"], folder=str(tmp_path / "datasets")).files == files, "a folder needs no manifest"


def test_in_a_mirror_only_folders_named_as_the_set_count(registry, tmp_path):
    for place in (".", "HR", "Set5_HR", "Set14/HR"):
        write_images(tmp_path / "datasets" / place)
    write_manifest(tmp_path)
    assert find(registry["Set5"], mirror=str(tmp_path)) is None
    assert len(find(registry["Set14"], mirror=str(tmp_path)).files) == 3


def test_the_image_of_bsds500_that_shows_set5s_woman_is_left_out(registry, tmp_path):
    for part, names in {"train": ("2092", "302003"), "test": ("2018",), "val": ("3096",)}.items():
        for name in names:
            save(tmp_path / f"BSR/BSDS500/data/images/{part}/{name}.jpg", pixels(0))
    assert set(find(registry["BSDS500"], str(tmp_path)).files) == {"2018", "2092"}


def test_a_set_in_place_is_whole_described_and_left_alone_by_the_next_run(registry, tmp_path):
    files = write_images(tmp_path / "theirs", 2) | {"2": save(tmp_path / "theirs/2.BMP", pixels(2))}
    dataset, manifest = registered(registry, files), tmp_path / "raw/Set5/manifest.json"
    materialise(dataset, Found(files, "folder", "HR"), manifest)
    copies = [manifest.parent / name for name in ("0.png", "1.png", "2.bmp")]
    assert manifest_files(manifest) == copies
    assert sorted(manifest.parent.iterdir()) == [*copies, manifest]
    assert [copy.read_bytes() for copy in copies] == [file.read_bytes() for file in files.values()]
    hashes = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files.values()]
    expected = {
        "name": "Set5",
        "role": "test",
        "licence": dataset.licence,
        "access": "private",
        "content": dataset.content,
        "available": True,
        "reason": "",
        "source": "folder",
        "variant": "HR",
        "verified": True,
        "cropped": False,
        "excluded": [],
        "files": [{"name": copy.name, "sha256": digest} for copy, digest in zip(copies, hashes, strict=True)],
    }
    assert read_json(manifest) == expected

    inodes = [copy.stat().st_ino for copy in copies]
    copies[1].write_bytes(b"damaged")
    materialise(dataset, Found(files, "folder", "HR"), manifest)
    assert copies[1].read_bytes() == files["1"].read_bytes()
    assert [copy.stat().st_ino for copy in (copies[0], copies[2])] == [inodes[0], inodes[2]]
    assert read_json(manifest) == expected


def test_a_run_that_is_killed_leaves_no_manifest_and_no_half_file(registry, tmp_path, monkeypatch):
    files = write_images(tmp_path / "theirs")
    dataset, manifest, copy = registered(registry, files), tmp_path / "raw/manifest.json", shutil.copyfile

    def killed(source, target):
        if Path(source).stem == "1":
            Path(target).write_bytes(b"half")
            raise KeyboardInterrupt
        return copy(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copyfile", killed)
        with pytest.raises(KeyboardInterrupt):
            materialise(dataset, Found(files, "folder"), manifest)
    assert [file.name for file in manifest.parent.iterdir()] == ["0.png"]
    materialise(dataset, Found(files, "folder"), manifest)
    assert len(manifest_files(manifest)) == 3


def test_a_wrong_set_is_not_put_in_place(registry, tmp_path):
    files = write_images(tmp_path / "theirs")
    with pytest.raises(ValueError, match="does not have the registered content"):
        materialise(replace(registry["Set5"], images=3), Found(files, "folder"), tmp_path / "raw/manifest.json")
    assert not (tmp_path / "raw").exists()


def test_images_are_left_out_by_name_and_an_unknown_name_is_an_error(registry, tmp_path):
    files = write_images(tmp_path / "theirs")
    dataset, manifest = registered(registry, files), tmp_path / "raw/manifest.json"
    with pytest.raises(ValueError, match="^data.exclude names '2.png', which is no image of Set5; correct it$"):
        materialise(dataset, Found(files, "folder"), manifest, exclude=("0", "2.png"))
    assert not manifest.exists()
    materialise(dataset, Found(files, "folder"), manifest, exclude=("2", "0"))
    assert [file.name for file in manifest_files(manifest)] == ["1.png"]
    assert read_json(manifest)["excluded"] == ["0", "2"]
    assert read_json(manifest)["verified"], "what was found is checked, not what is left of it"


def test_a_manifest_whose_image_is_gone_is_an_error(registry, tmp_path):
    files = write_images(tmp_path / "theirs")
    materialise(registered(registry, files), Found(files, "folder"), tmp_path / "raw/manifest.json")
    (tmp_path / "raw/1.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1\.png is missing though .*delete the manifest and run again"):
        manifest_files(tmp_path / "raw/manifest.json")


def test_the_absence_of_a_set_is_a_manifest_with_its_reason_and_no_files(registry, tmp_path):
    files = write_images(tmp_path / "theirs")
    there, absent = tmp_path / "there/manifest.json", tmp_path / "absent/manifest.json"
    materialise(registered(registry, files), Found(files, "folder"), there)
    note_absence(registry["Manga109"], absent, "it is not at hand")
    assert read_json(absent).keys() == read_json(there).keys()
    assert read_json(absent) == {
        "name": "Manga109",
        "role": "test",
        "licence": registry["Manga109"].licence,
        "access": "private",
        "content": "",
        "available": False,
        "reason": "it is not at hand",
        "source": "",
        "variant": "",
        "verified": False,
        "cropped": False,
        "excluded": [],
        "files": [],
    }
    assert manifest_files(absent) == []


def test_what_is_not_of_the_set_any_more_is_removed_except_from_the_users_own_folder(registry, tmp_path):
    files = write_images(tmp_path / "theirs", 3)
    dataset, manifest = registered(registry, files), tmp_path / "raw/Set5/manifest.json"
    materialise(dataset, Found(files, "folder"), manifest)
    materialise(dataset, Found(files, "folder"), manifest, exclude=("1",))
    assert sorted(file.name for file in manifest.parent.iterdir()) == ["0.png", "2.png", "manifest.json"]
    assert all(file.is_file() for file in files.values())
    own = tmp_path / "theirs/manifest.json"
    materialise(dataset, Found(files, "folder"), own, exclude=("1",))
    assert all(file.is_file() for file in files.values())
