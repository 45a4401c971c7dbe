import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsr.layouts import find_layout

SET5 = ("Set5",)
B100 = ("B100", "BSD100", "BSDS100")
DIV2K_TRAIN = ("DIV2K_train", "DIV2K", "DIV2K_train_HR")
DIV2K_VALID = ("DIV2K_valid", "DIV2K", "DIV2K_valid_HR")
BSDS500 = ("BSDS500", "BSR_bsds500")
PARTS = ("train", "test")


def make(root: Path, *files: str) -> Path:
    """Files that hold their own paths: a layout is told by names alone."""
    for file in files:
        assert not Path(file).is_absolute()
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(file)
    return root


def shown(root: Path, names: tuple[str, ...], parts: tuple[str, ...] = (), *, shared: bool = False):
    """(layout's name, {image name: path below the root}); None where there is none."""
    found = find_layout(root, names, parts, shared=shared)
    return found and (found.variant, {name: file.relative_to(root).as_posix() for name, file in found.files.items()})


@settings(deadline=None, max_examples=60)
@given(
    images=st.sets(st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,9}", fullmatch=True), min_size=1, max_size=5),
    layout=st.sampled_from(["", "original", "HR", "hr", "Set5_HR", "set5_hr", "GTmod12", "image_SRF_2", "image_SRF_4"]),
    base=st.sampled_from(["", "Set5", "set5", "SET5"]),
    suffix=st.sampled_from([".png", ".PNG", ".jpg", ".jpeg", ".bmp", ".tif", ".webp"]),
    shared=st.booleans(),
)
def test_a_set_is_found_in_each_layout_among_other_files(images, layout, base, suffix, shared):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        expected = {image: (Path(base) / layout / f"{image}{suffix}").as_posix() for image in images}
        clutter = [Path(base, other, f"{image}.png") for other in ("LRbicx2", "LR_matlab_x4") for image in images]
        make(root, *expected.values(), *map(str, clutter), "README.md", "Set14/HR/baboon.png", "Set14_HR/baboon.png")
        if shared and not base:
            assert shown(root, SET5, shared=True) is None
        else:
            assert shown(root, SET5, shared=shared) == (layout or "flat", expected)


def test_basicsr_keeps_whole_images_and_crops_and_the_whole_ones_are_taken(tmp_path):
    folders = ("GTmod12", "LRbicx2", "LRbicx4", "original")
    root = make(tmp_path / "datasets", *(f"Set5/{folder}/baby.png" for folder in folders), "Set14/original/a.png")
    whole = ("original", {"baby": "Set5/original/baby.png"})
    assert shown(root, SET5) == shown(root, SET5, shared=True) == whole
    assert shown(root / "Set5", SET5) == ("original", {"baby": "original/baby.png"})
    (root / "Set5/original/baby.png").unlink()
    assert shown(root, SET5) == ("GTmod12", {"baby": "Set5/GTmod12/baby.png"}), "an empty folder is no layout"


def test_of_selfexsrs_pairs_the_high_resolution_half_is_the_set_under_the_images_names(tmp_path):
    halves = ("HR", "LR", "bicubic", "glasner", "SRCNN")
    for scale in (2, 4):
        stems = [f"Set5/image_SRF_{scale}/img_{index:03d}_SRF_{scale}" for index in (1, 2, 10)]
        make(tmp_path, *(f"{stem}_{half}.png" for stem in stems for half in halves))
    names = ("img_001", "img_002", "img_010")
    expected = {name: f"Set5/image_SRF_2/{name}_SRF_2_HR.png" for name in names}
    assert shown(tmp_path, SET5, shared=True) == ("image_SRF_2", expected)


@pytest.mark.parametrize("folder", ["B100", "b100", "BSD100", "bsd100", "Bsds100", "BSDS100"])
@pytest.mark.parametrize("layout", ["{}/1.png", "{}/HR/1.png", "{0}/{0}_HR/1.png"])
def test_an_alias_counts_whatever_its_case(tmp_path, folder, layout):
    file = layout.format(folder)
    make(tmp_path, file, "BSDS200/1.png", "BSD100_LR/1.png")
    for shared in (True, False):
        assert shown(tmp_path, B100, shared=shared)[1] == {"1": file}


@pytest.mark.parametrize("parent", ["DIV2K/", ""])
def test_two_sets_of_one_alias_side_by_side_are_not_confused(tmp_path, parent):
    train, valid = f"{parent}DIV2K_train_HR/0001.png", f"{parent}DIV2K_valid_HR/0801.png"
    make(tmp_path, train, valid, f"{parent}DIV2K_train_LR_bicubic/X2/0001x2.png")
    for shared in (True, False):
        assert shown(tmp_path, DIV2K_TRAIN, shared=shared)[1] == {"0001": train}
        assert shown(tmp_path, DIV2K_VALID, shared=shared)[1] == {"0801": valid}
    (tmp_path / valid).unlink()
    assert shown(tmp_path, DIV2K_VALID, shared=True) is None
    assert shown(tmp_path, DIV2K_VALID) is None


@pytest.mark.parametrize("place", ["BSR/BSDS500/data/images", "BSDS500/data/images", "BSDS500", "bsds500", "."])
def test_a_set_of_parts_is_found_wherever_its_parts_lie_side_by_side(tmp_path, place):
    kinds = {"train": "2092", "test": "2018", "val": "3096"}
    make(tmp_path, *(f"{place}/{part}/{image}.jpg" for part, image in kinds.items()))
    make(tmp_path, *(f"BSR/BSDS500/data/groundTruth/{part}/{image}.mat" for part, image in kinds.items()))
    make(tmp_path, f"{place}/test/Thumbs.db", "BSR/bench/data/images/2018.jpg")
    below = "" if place == "." else f"{place}/"
    expected = {"2018": f"{below}test/2018.jpg", "2092": f"{below}train/2092.jpg"}
    assert shown(tmp_path, BSDS500, PARTS) == ("train+test", expected)


def test_a_part_alone_is_not_the_set(tmp_path):
    make(tmp_path, "BSDS500/train/2092.jpg", "BSDS500/HR/2092.jpg")
    assert shown(tmp_path, BSDS500, PARTS) is None


@pytest.mark.parametrize(
    ("files", "parts", "image"),
    [
        (("Set5/HR/baby.png", "Set5/HR/baby.bmp"), (), "baby"),
        (("Set5/HR/baby.png", "Set5/HR/baby.PNG"), (), "baby"),
        (("Set5/HR/a_SRF_2_HR.png", "Set5/HR/a_SRF_4_HR.png"), (), "a"),
        (("Set5/train/1.jpg", "Set5/test/1.jpg"), PARTS, "1"),
    ],
)
def test_two_images_of_one_name_are_refused(tmp_path, files, parts, image):
    make(tmp_path, *files)
    with pytest.raises(ValueError, match=f"are both image {image} of one set; remove one of them") as caught:
        find_layout(tmp_path, SET5, parts)
    assert all(str(tmp_path / file) in str(caught.value) for file in files)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "files",
    [
        (),
        ("notes.txt", "HR/notes.txt"),
        ("LRbicx2/baby.png", "Set5/LRbicx2/baby.png", "Set55/baby.png", "Set14/HR/baboon.png"),
        ("Set5/deep/er/HR/baby.png",),
        ("Set5",),
        ("HR/._baby.png", "HR/.baby-x1.png", "HR/folder.png/notes.txt"),
    ],
)
def test_a_folder_that_does_not_hold_the_set_gives_none(tmp_path, files):
    make(tmp_path, *files)
    assert shown(tmp_path, SET5) is None
    assert shown(tmp_path, SET5, shared=True) is None
    assert shown(tmp_path / "nowhere", SET5) is None


def test_hidden_files_are_not_images_of_the_set(tmp_path):
    make(tmp_path, "Set5/baby.png", "Set5/._baby.png", "Set5/.baby-x1.png", "Set5/._baby_HR.png")
    assert shown(tmp_path, SET5) == ("flat", {"baby": "Set5/baby.png"})
