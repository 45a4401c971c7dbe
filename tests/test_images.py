import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fsr import images


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def saved(tmp_path, image: Image.Image, name: str = "image.png", **options):
    image.save(tmp_path / name, **options)
    return tmp_path / name


def test_rgb_is_read_as_it_is(tmp_path):
    pixels = noise(9, 13)
    read = images.read_image(saved(tmp_path, Image.fromarray(pixels)))
    assert read.shape == (1, 3, 9, 13)
    assert np.array_equal(images.to_bytes(read)[0].permute(1, 2, 0), pixels)


def test_grey_is_repeated(tmp_path):
    pixels = noise(9, 13, 1)
    read = images.read_image(saved(tmp_path, Image.fromarray(pixels)))
    assert all(np.array_equal(images.to_bytes(read)[0, c], pixels) for c in range(3))


def test_alpha_is_composited_on_white(tmp_path):
    pixels = np.zeros((4, 4, 4), dtype=np.uint8)
    pixels[:2, :, 3] = 255
    read = images.read_image(saved(tmp_path, Image.fromarray(pixels)))
    assert read[0, :, :2].max() == 0
    assert read[0, :, 2:].min() == 1


def test_sixteen_bit_grey_keeps_its_precision(tmp_path):
    levels = np.arange(0, 65536, 257 * 8 + 3, dtype=np.uint16).reshape(1, -1)
    read = images.read_image(saved(tmp_path, Image.fromarray(levels)))
    assert np.allclose(read[0, 0, 0] * 65535, levels[0], atol=0.01)


def test_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    read = images.read_image(saved(tmp_path, Image.fromarray(noise(8, 20)), exif=exif))
    assert read.shape == (1, 3, 20, 8)


def test_a_palette_with_transparency_is_colour_on_white(tmp_path):
    palette = Image.fromarray(noise(8, 8)).quantize(4)
    path = saved(tmp_path, palette, transparency=0)
    read = images.read_image(path)
    chosen = torch.from_numpy(np.asarray(palette) == 0)
    assert (read[0, :, chosen] == 1).all()


def test_what_cannot_be_read_says_what_to_do(tmp_path):
    whole = saved(tmp_path, Image.fromarray(noise(64, 64)))
    (tmp_path / "cut.png").write_bytes(whole.read_bytes()[:5000])
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(ValueError, match=r"cut\.png is truncated or damaged .*fetch it again"):
        images.read_image(tmp_path / "cut.png")
    with pytest.raises(ValueError, match=r"text\.png is not an image"):
        images.read_image(tmp_path / "text.png")
    with pytest.raises(FileNotFoundError, match=r"none\.png is missing"):
        images.read_image(tmp_path / "none.png")
    with pytest.raises(FileNotFoundError, match="no images in"):
        images.list_images(tmp_path / "nowhere")


def test_a_written_image_is_read_back(tmp_path):
    x = images.quantise(torch.rand(1, 3, 7, 5))
    images.write_image(tmp_path / "deep" / "x.png", x)
    assert torch.equal(images.read_image(tmp_path / "deep" / "x.png"), x)
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["x.png"]


@settings(max_examples=50, deadline=None)
@given(st.integers(16, 90), st.integers(16, 90), st.sampled_from([8, 16]))
def test_a_crop_is_the_largest_and_in_its_place(height, width, multiple):
    image = torch.arange(height * width, dtype=torch.float32).view(1, 1, height, width)
    for centred in (False, True):
        crop = images.crop_to_multiple(image, multiple, centred=centred)
        assert crop.shape[-2:] == (height // multiple * multiple, width // multiple * multiple)
        top, left = divmod(int(crop[0, 0, 0, 0]), width)
        assert abs(top - (height - crop.shape[-2] - top)) <= 1 if centred else (top, left) == (0, 0)


def test_an_image_too_small_is_refused():
    with pytest.raises(ValueError, match="8x8 pixels is smaller than 16x16.*remove it"):
        images.crop_to_multiple(torch.zeros(1, 3, 8, 8), 16)


@pytest.mark.parametrize("scale", [2, 4])
def test_shrinking_is_pillows_antialiased_bicubic(scale):
    pixels = noise(32, 48)
    expected = np.asarray(Image.fromarray(pixels).resize((48 // scale, 32 // scale), Image.BICUBIC), dtype=np.int64)
    found = images.shrink(torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255, scale)
    assert np.abs(images.to_bytes(found)[0].permute(1, 2, 0).numpy().astype(np.int64) - expected).max() <= 1


def test_enlarging_pixels_is_pillows_bicubic_and_features_use_another_kernel():
    pixels = 100 + noise(12, 10) // 5  # no overshoot: Pillow rounds and clamps between its two passes
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    expected = np.asarray(Image.fromarray(pixels).resize((20, 24), Image.BICUBIC), dtype=np.int64)
    found = images.to_bytes(images.enlarge(x, 2))[0].permute(1, 2, 0).numpy().astype(np.int64)
    assert np.abs(found - expected).max() <= 1
    own = torch.nn.functional.interpolate(x, size=(24, 20), mode="bicubic", align_corners=False)
    assert torch.equal(images.enlarge_features(x, (24, 20)), own)
    assert (images.enlarge(x, 2) - own).abs().max() > 0.004
