import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from fsr import leakage
from fsr.files import read_json
from fsr.leakage import accept_leakage, find_matches, search_leakage
from fsr.matching import FEATURES, METHOD, SHARE, align, sketch

PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png")


@pytest.fixture(scope="module")
def photos() -> dict[str, np.ndarray]:
    """{name: (H, W, 3) uint8} of different photos that scikit-image carries, the longer side 400 pixels."""
    folder, found = Path(skimage.__file__).parent / "data", {}
    for name in PHOTOS:
        with Image.open(folder / name) as opened:
            picture = opened.convert("RGB")
        picture.thumbnail((400, 400))
        found[Path(name).stem] = np.array(picture)
    return found


@pytest.fixture
def search(tmp_path, photos):
    """Matches of two photos (or of `train`) with one test picture."""

    def searched(test: np.ndarray, train: dict[str, np.ndarray] | None = None, **options):
        files = written(tmp_path / "train", train or {name: photos[name] for name in ("chelsea", "coffee")})
        return find_matches(
            {"Photos": files}, {"Tests": written(tmp_path / "test", {"it": test}, **options)}, threads=1
        )

    return searched


def written(folder: Path, pictures: dict[str, np.ndarray], suffix: str = ".png", **options) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{name}{suffix}" for name in pictures]
    for file, pixels in zip(files, pictures.values(), strict=True):
        Image.fromarray(np.ascontiguousarray(pixels)).save(file, **options)
    return files


def rescaled(pixels: np.ndarray, factor: float) -> np.ndarray:
    height, width = pixels.shape[:2]
    size = round(width * factor), round(height * factor)
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).resize(size, Image.Resampling.BICUBIC))


def blurred(pixels: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(pixels, (0, 0), sigma)


def as_image(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None].float() / 255


ALTERED = {
    "the same": (lambda p: p, 1.0, False, {}),
    "recompressed": (lambda p: p, 1.0, False, {"suffix": ".jpg", "quality": 30}),
    "a quarter": (lambda p: rescaled(p, 0.25), 0.25, False, {}),
    "fourfold": (lambda p: rescaled(p, 4), 4.0, False, {}),
    "mirrored": (lambda p: p[:, ::-1], 1.0, True, {}),
    "turned": (np.rot90, 1.0, False, {}),
    "darker and flatter": (lambda p: (30 + 0.5 * p).astype(np.uint8), 1.0, False, {}),
    "a crop": (lambda p: p[60:260, 100:320], 1.0, False, {}),
    "a crop, halved, recompressed": (lambda p: rescaled(p[60:260, 100:320], 0.5), 0.5, False,
                                     {"suffix": ".jpg", "quality": 50}),
    "a crop, doubled, mirrored": (lambda p: rescaled(p[60:260, 100:320], 2)[:, ::-1], 2.0, True, {}),
}  # fmt: skip


@pytest.mark.parametrize("how", ALTERED)
@pytest.mark.parametrize("name", ["chelsea", "coffee"])
def test_an_altered_copy_is_found_with_its_scale(search, photos, name, how):
    alter, scale, mirrored, options = ALTERED[how]
    (match,) = search(alter(photos[name]), **options)
    assert (match.train_set, match.train_image, match.test_set, match.test_image) == ("Photos", name, "Tests", "it")
    assert match.scale == pytest.approx(scale, rel=0.02)
    assert match.mirrored == mirrored
    assert match.overlap > 0.97
    assert match.correlation > 0.95
    assert match.rotation_degrees == pytest.approx(-90 if how == "turned" else 0, abs=1)


def test_a_training_image_that_is_a_part_of_the_test_image_is_found(search, photos):
    whole = photos["coffee"]
    (match,) = search(whole, {"part": rescaled(whole[50:183, 100:300], 0.5), "other": photos["chelsea"]})
    assert (match.train_image, match.overlap) == ("part", pytest.approx(0.25, abs=0.01))
    assert match.scale == pytest.approx(2, rel=0.02)


def test_two_crops_that_share_a_part_are_found(search, photos):
    (match,) = search(photos["coffee"][:, 160:], {"left": photos["coffee"][:, :260]})
    assert match.overlap == pytest.approx(100 / 240, abs=0.01)


def test_a_picture_pasted_into_another_with_a_frame_is_found(search, photos):
    collage = np.array(photos["astronaut"])
    collage[80:360, 80:360] = 255
    collage[85:355, 85:355] = cv2.resize(photos["chelsea"], (400, 270))[:, 70:340]
    (match,) = search(photos["chelsea"], {"collage": collage})
    assert 0.3 < match.overlap < 0.7
    assert match.scale == pytest.approx(1, rel=0.01)


@given(
    photo=st.sampled_from([0, 1, 2]),
    place=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    side=st.floats(0.5, 1),
    factor=st.floats(0.4, 2.5),
    mirrored=st.booleans(),
)
@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_alignment_maps_every_point_to_where_it_went(photos, photo, place, side, factor, mirrored):
    whole = list(photos.values())[photo]
    height, width = (int(length * side) for length in whole.shape[:2])
    top, left = int(place[0] * (whole.shape[0] - height)), int(place[1] * (whole.shape[1] - width))
    part = rescaled(whole[top : top + height, left : left + width], factor)
    train, test = sketch(as_image(whole)), sketch(as_image(part[:, ::-1] if mirrored else part))
    found = align(train, test.mirrored() if mirrored else test)
    assert found is not None
    spots = np.array([(0, 0), (width, 0), (0, height), (width, height)], float)
    seen = (spots + np.array([left, top])) / train.reduction - 0.5
    expected = spots * part.shape[1] / width / test.reduction - 0.5
    assert np.abs(cv2.transform(seen[None], found.affine)[0] - expected).max() < 1.5


def test_different_pictures_do_not_match(tmp_path, photos):
    names = list(photos)
    for name in names:
        others = {other: photos[other] for other in names if other != name}
        train = written(tmp_path / name / "train", others)
        assert find_matches({"A": train}, {"B": written(tmp_path / name, {name: photos[name]})}, threads=1) == []


def test_a_shared_logo_and_frame_are_not_a_copy(search, photos):
    logo, pictures = photos["astronaut"][20:100, 130:220], {}
    for name in ("coffee", "chelsea"):
        marked = cv2.copyMakeBorder(photos[name][:260, :390], 12, 12, 12, 12, cv2.BORDER_CONSTANT, value=(9, 9, 9))
        marked[40:120, 30:120] = logo
        pictures[name] = marked
    assert logo.shape[0] * logo.shape[1] < SHARE * 260 * 390
    assert search(pictures["coffee"], {"chelsea": pictures["chelsea"]}) == []


def test_a_repeated_pattern_is_not_a_copy(search, photos):
    tiles = np.tile(photos["coffee"][70:110, 140:180], (8, 10, 1))
    one, other = photos["chelsea"].copy(), photos["astronaut"].copy()
    one[:100], other[:, :100] = tiles[:100], rescaled(tiles, 1.5)[:400, :100]
    assert search(one, {"other": other}) == []


@pytest.mark.parametrize("alter", [lambda p: p[:, ::-1], lambda p: rescaled(p, 0.4), lambda p: rescaled(p, 2)])
def test_a_picture_without_texture_is_found(search, photos, alter):
    soft = {name: blurred(pixels, 25) for name, pixels in photos.items()}
    (match,) = search(cv2.resize(alter(soft["coffee"]), (300, 300)), soft)
    assert (match.train_image, match.inliers) == ("coffee", 0)
    assert match.overlap == 1


@pytest.mark.parametrize("test", ["plain", "steep", "blank"])
def test_skies_and_blank_pages_are_not_copies(search, test):
    """Smooth gradients are alike whatever they show, and what 8 bits leave of their differences tells nothing."""
    y, x = np.mgrid[0:240, 0:320] / 320
    skies = {
        "plain": 250 - 120 * y,
        "hazy": 240 - 150 * y**2 + 20 * x,
        "steep": 250 - 120 * y**3,
        "gentle": 200 - 60 * y**3,
        "blank": 0 * y + 255,
        "black": 0 * y,
    }
    pictures = {name: np.repeat(sky[..., None], 3, axis=2).round().astype(np.uint8) for name, sky in skies.items()}
    assert search(pictures.pop(test), pictures) == []


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (7, 5), (3, 1500)])
def test_pictures_too_small_to_tell_are_passed_over(search, photos, shape):
    small = cv2.resize(photos["coffee"], shape[::-1])
    assert search(small, {"small": small[:, ::-1], "coffee": photos["coffee"]}) == []


def test_a_mirrored_sketch_is_the_sketch_of_the_mirrored_picture(photos):
    """Against features found anew in mirrored pixels, of a picture that keeps them all."""
    image = as_image(photos["astronaut"][:160, 100:300])
    made, reference = sketch(image).mirrored(), sketch(image.flip(-1))
    assert np.array_equal(made.grey, reference.grey)
    assert np.allclose(made.thumbnail, reference.thumbnail, atol=1e-5)
    assert 100 < len(made.points) < FEATURES
    apart = np.linalg.norm(made.points[:, None] - reference.points[None], axis=2)
    similarity = np.where(apart < 0.5, made.descriptors @ reference.descriptors.T, 0).max(axis=1)
    assert (similarity > 0.99).mean() > 0.85


def test_matches_are_sorted_and_the_same_in_any_order(tmp_path, photos):
    train = written(tmp_path / "train", photos)
    tests = written(tmp_path / "test", {name: rescaled(pixels, 0.7) for name, pixels in photos.items()})
    first = find_matches({"B": train[:2], "A": train[2:]}, {"T": tests, "S": tests[:1]}, threads=1)
    cv2.setRNGSeed(7)
    second = find_matches({"A": train[:1:-1], "B": train[1::-1]}, {"S": tests[:1], "T": tests[::-1]}, threads=1)
    assert first == second
    keys = [(match.train_set, match.train_image, match.test_set, match.test_image) for match in first]
    assert keys == sorted(keys) and len(keys) == len(photos) + 1


@pytest.fixture
def leaking(tmp_path, photos) -> dict:
    """Arguments of a check that finds two pairs."""
    train = written(tmp_path / "train", {"302": photos["coffee"], "chelsea": photos["chelsea"]})
    tests = {"cup": photos["coffee"][40:240, 60:360][:, ::-1], "cat": rescaled(photos["chelsea"], 0.5)}
    return {
        "train": {"Photos": train, "Absent": []},
        "test": {"Tests": written(tmp_path / "test", tests)},
        "report": tmp_path / "out/leakage.json",
        "picture": tmp_path / "out/leakage.png",
        "threads": 1,
    }


def test_a_leak_stops_the_study_after_it_is_written_down(leaking):
    search_leakage(**leaking)
    accepted = leaking["report"].with_name("accepted.json")
    with pytest.raises(ValueError) as raised:
        accept_leakage(leaking["report"], accepted, "stop")
    text = str(raised.value)
    assert text.startswith("training image Photos/302 shows test image Tests/cup (mirrored, scale 1.00, correlation ")
    assert ") and 1 more; leave out what leaks" in text
    assert "leave out what leaks with data.exclude: {Photos: ['302', chelsea]}, or set data.leakage to report" in text
    assert text.endswith(f"see {leaking['report']}") and "\n" not in text
    assert len(read_json(leaking["report"])["matches"]) == 2
    assert leaking["picture"].is_file() and not accepted.exists()


def test_a_leak_may_be_reported_only(leaking):
    search_leakage(**leaking)
    accept_leakage(leaking["report"], accepted := leaking["report"].with_name("accepted.json"), "report")
    assert read_json(accepted) == {"action": "report", "matches": 2}
    report = read_json(leaking["report"])
    assert report["method"] == METHOD
    assert report["train"] == [{"set": "Photos", "images": 2}, {"set": "Absent", "images": 0}]
    assert report["test"] == [{"set": "Tests", "images": 2}]
    found = find_matches(leaking["train"], leaking["test"], threads=1)
    assert [leakage.Match(**match) for match in report["matches"]] == found


def test_the_picture_lays_the_training_image_over_the_test_image(leaking):
    search_leakage(**leaking)
    shown = np.asarray(Image.open(leaking["picture"]).convert("RGB")).astype(int)
    panel, gap, line = leakage.PANEL, leakage.GAP, leakage.LINE
    top = 2 * gap + 2 * line
    train, test, laid = (shown[top : top + 200, gap + k * (panel + gap) :][:, :300] for k in range(3))
    assert np.abs(test - laid).mean() < 4
    assert np.abs(train - laid).mean() > 30
    assert (np.abs(train - leakage.OUTLINE).max(axis=2) < 30).sum() > 500


@pytest.mark.parametrize("empty", ["train", "test", "neither"])
def test_nothing_found_is_said_in_both_files(leaking, photos, empty):
    given = leaking | ({"test": {"Tests": leaking["test"]["Tests"][:0]}} if empty == "test" else {})
    given |= {"train": {}} if empty == "train" else {}
    if empty == "neither":
        given["train"] = {"Other": written(leaking["report"].parent / "other", {"rocket": photos["rocket"]})}
    search_leakage(**given)
    accept_leakage(leaking["report"], leaking["report"].with_name("accepted.json"), "stop")
    assert read_json(leaking["report"])["matches"] == []
    assert np.asarray(Image.open(leaking["picture"]).convert("L")).min() < 50, "a sentence is drawn"


def test_a_picture_of_many_pairs_shows_a_dozen(leaking, tmp_path, photos):
    copies = {f"copy{k}": rescaled(photos["chelsea"], 0.5 + 0.02 * k) for k in range(13)}
    search_leakage(**leaking | {"train": {"Copies": written(tmp_path / "copies", copies)}})
    assert len(read_json(leaking["report"])["matches"]) == 13
    row = leakage.LINE + leakage.PANEL + leakage.GAP
    assert Image.open(leaking["picture"]).height // row == 12


def test_a_missing_image_is_named(tmp_path, photos):
    there = written(tmp_path, {"coffee": photos["coffee"]})
    with pytest.raises(FileNotFoundError, match=r"gone\.png is missing"):
        find_matches({"A": [tmp_path / "gone.png"]}, {"B": there}, threads=1)


@pytest.fixture(scope="module")
def mirror() -> Path:
    """The image sets of a mirror."""
    if not os.environ.get("FSR_MIRROR"):
        pytest.skip("needs the public image sets: set FSR_MIRROR to a mirror")
    return Path(os.environ["FSR_MIRROR"], "datasets")


def test_the_woman_of_set5_is_found_in_a_photo(mirror, tmp_path):
    """As in BSDS500's 302003, a portrait photo of 321 x 481 pixels that she is cut from."""
    portraits = [file for file in sorted(mirror.glob("BSDS500/train/*")) if Image.open(file).size == (321, 481)][:4]
    photo = np.array(Image.open(portraits[0]).convert("RGB"))
    woman = np.asarray(Image.open(mirror / "Set5/HR/woman.png").convert("RGB"))
    photo[100 : 100 + woman.shape[0], 60 : 60 + woman.shape[1]] = woman
    train = [*portraits[1:], *written(tmp_path, {"302003": photo}, suffix=".jpg", quality=75)]
    (match,) = find_matches({"BSDS500": train}, {"Set5": sorted(mirror.glob("Set5/HR/*"))}, threads=1)
    assert (match.train_image, match.test_image, match.mirrored) == ("302003", "woman", False)
    assert match.scale == pytest.approx(1, abs=0.01)
    assert match.overlap == pytest.approx(1, abs=0.01)


def test_photos_of_the_same_kind_do_not_match(mirror):
    """Every twentieth photo of BSDS500, and those nearest to a test image of all: monarchs, leopards and tigers."""
    photos = sorted(mirror.glob("BSDS500/*/*.jpg"))
    alike = {"35049", "160067", "108041", "176035", "393035", "55067"}
    train = [file for index, file in enumerate(photos) if index % 20 == 0 or file.stem in alike]
    b100 = [mirror / f"B100/HR/img_{number:03}.png" for number in (9, 26, 45, 50, 59)]
    test = {name: sorted(mirror.glob(f"{name}/HR/*")) for name in ("Set5", "Set14")} | {"B100": b100}
    assert sum(len(files) for files in test.values()) == 24
    assert find_matches({"BSDS500": train}, test, threads=1) == []
