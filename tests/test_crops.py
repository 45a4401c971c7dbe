import numpy as np
import pytest
from PIL import Image

from fsr.crops import plan_crops, plan_splits, read_crops


@pytest.fixture
def files(tmp_path):
    """Three images, of which the third is too small to spare a band."""
    for index, (width, height) in enumerate(((160, 64), (60, 150), (50, 50))):
        Image.new("RGB", (width, height)).save(tmp_path / f"{index}.png")
    return sorted(tmp_path.iterdir())


def covered(crops, files):
    marks = {file: np.zeros((160, 160), dtype=bool) for file in files}
    for crop in crops:
        marks[crop.file][crop.top : crop.top + 48, crop.left : crop.left + 48] = True
    return marks


def test_held_out_crops_touch_no_training_crop(params, files):
    many = params.latents.model_copy(update={"crops": 200, "validation_crops": 100})
    plans = plan_splits(files, [], many, 0)
    marks = covered(plans["train"], files)
    held_out = plans["validation"]
    assert not any(marks[c.file][c.top : c.top + 48, c.left : c.left + 48].any() for c in held_out)
    assert {crop.file.name for crop in held_out} == {"0.png", "1.png"}, "the small image can spare no band"


def test_with_validation_sets_training_sees_whole_images_and_validation_sees_only_its_own(params, files):
    many = params.latents.model_copy(update={"crops": 400, "validation_crops": 40})
    plans = plan_splits(files[:2], files[2:], many, 0)
    assert {crop.file.name for crop in plans["validation"]} == {"2.png"}
    assert {crop.file.name for crop in plans["train"]} == {"0.png", "1.png"}
    assert max(crop.left for crop in plans["train"]) > 160 - 48 - 24, "no band is held out"


def test_more_crops_extend_the_plan(params, files):
    few, many = (plan_crops(files, params.latents.model_copy(update={"crops": n}), 0, "train", "train") for n in (5, 9))
    assert many[:5] == few


def test_an_image_smaller_than_a_crop_is_named(params, tmp_path):
    small = tmp_path / "small.png"
    Image.new("RGB", (8, 8)).save(small)
    with pytest.raises(ValueError, match=r"small\.png \(8x8\) is smaller than latents\.crop_size 48; leave it"):
        plan_crops([small], params.latents, 0, "train", "train")


def test_a_rotated_photo_is_planned_as_it_is_read(params, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (120, 50)).save(tmp_path / "turned.jpg", exif=exif)
    crops = plan_crops([tmp_path / "turned.jpg"], params.latents, 0, "train", "train")
    assert max(crop.top for crop in crops) > 2 >= max(crop.left for crop in crops)
    assert read_crops(crops, 48).shape == (12, 3, 48, 48)


def test_nothing_to_hold_out_is_an_error(params, tmp_path):
    Image.new("RGB", (50, 50)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="hold out validation crops; lower"):
        plan_crops([tmp_path / "a.png"], params.latents, 0, "validation", "validation")
