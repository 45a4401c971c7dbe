"""Image files come back with all they carry, or are refused; nothing is lost in silence."""

import io
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageCms, ImageOps, PngImagePlugin

from fsr.formats import Encoding, UnsupportedImageError, read_picture, write_picture
from fsr.formats.metadata import webp_is_lossless
from fsr.images import enlarge

tifffile = pytest.importorskip("tifffile")
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
H, W = 11, 17
BASE, IFD = ExifTags.Base, ExifTags.IFD


def samples(channels: int, depth: int = 8, seed: int = 0) -> np.ndarray:
    """(H, W, C) of every level but zero, so that nothing is wholly transparent."""
    values = np.random.default_rng(seed).integers(1, 2**depth, (H, W, channels), dtype=f"uint{depth}")
    return values[..., 0] if channels == 1 else values


def image(mode: str) -> Image.Image:
    if mode == "1":
        return Image.fromarray(samples(1)).convert("1")
    if mode == "P":
        return Image.fromarray(samples(3)).quantize(16)
    return Image.fromarray(samples(len(mode)))


def again(path: Path, picture=None, **encoding) -> Path:
    return write_picture(path.parent / f"again{path.suffix}", picture or read_picture(path), Encoding(**encoding))


def deep(path: Path) -> np.ndarray:
    """Samples as an independent reader has them, RGB(A)."""
    found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    return found if found.ndim == 2 else found[..., [2, 1, 0, 3][: found.shape[-1]]]


def exif_of(size: tuple[int, int] = (W, H), orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[BASE.Orientation], exif[BASE.Artist], exif[BASE.Make] = orientation, "Somebody", "Camera"
    exif[IFD.Exif] = {BASE.ExifImageWidth: size[0], BASE.ExifImageHeight: size[1], BASE.ISOSpeedRatings: 200}
    exif[IFD.GPSInfo] = {ExifTags.GPS.GPSLatitudeRef: "N", ExifTags.GPS.GPSLatitude: (52.0, 30.0, 0.0)}
    return exif.tobytes()


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".bmp"])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "P"])
def test_what_is_stored_without_loss_comes_back_so(tmp_path, mode, suffix):
    if suffix == ".bmp" and mode in ("LA", "RGBA"):
        pytest.skip("Pillow writes no transparency into BMP")
    original, path = image(mode), tmp_path / f"a{suffix}"
    original.save(path, **({"lossless": True} if suffix == ".webp" else {}))
    picture = read_picture(path)
    assert picture.colour.shape == (1, 3, H, W)
    assert picture.size == (W, H)
    with Image.open(again(path)) as made:
        grey = mode in ("1", "L", "LA") and suffix != ".webp"
        assert made.mode == ("L" if grey else "RGB") + ("A" if "A" in mode else "")
        assert np.array_equal(np.asarray(made.convert("RGBA")), np.asarray(original.convert("RGBA")))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_stay_sixteen(tmp_path, channels, suffix):
    values, path = samples(channels, 16), tmp_path / f"a{suffix}"
    order = [2, 1, 0, 3][:channels] if channels > 1 else slice(None)
    assert cv2.imwrite(str(path), np.ascontiguousarray(values[..., order] if channels > 1 else values))
    picture = read_picture(path)
    assert (picture.depth, picture.grey) == (16, channels == 1)
    assert np.array_equal(deep(again(path)), values)
    converted = write_picture(tmp_path / "b.png", picture, Encoding("tiff" if suffix == ".png" else "png"))
    assert np.array_equal(deep(converted), values)


def test_sixteen_bit_tiffs_of_another_kind_are_read_right(tmp_path):
    values, path = samples(4, 16), tmp_path / "a.tif"
    tifffile.imwrite(path, values, photometric="rgb", byteorder=">", extrasamples=["unassalpha"])
    assert np.array_equal(deep(again(path)), values)
    tifffile.imwrite(path, values[..., 0], photometric="miniswhite")
    assert np.array_equal(deep(again(path)), 65535 - values[..., 0])
    half = np.concatenate([values[..., :3] // 2, np.full((H, W, 1), 32768, np.uint16)], axis=-1)
    tifffile.imwrite(path, half, photometric="rgb", extrasamples=["assocalpha"])
    straight = deep(again(path)).astype(int)
    assert np.abs(straight[..., :3] - values[..., :3]).max() <= 2
    assert (straight[..., 3] == 32768).all()


def test_grey_with_transparency_of_sixteen_bits(tmp_path):
    values, path = samples(2, 16), tmp_path / "a.png"
    rows = np.concatenate([np.zeros((H, 1), np.uint8), values.astype(">u2").view(np.uint8).reshape(H, -1)], axis=1)
    with path.open("wb") as handle:
        handle.write(b"\x89PNG\r\n\x1a\n")
        PngImagePlugin.putchunk(handle, b"IHDR", struct.pack(">IIBBBBB", W, H, 16, 4, 0, 0, 0))
        PngImagePlugin.putchunk(handle, b"IDAT", zlib.compress(rows.tobytes()))
        PngImagePlugin.putchunk(handle, b"IEND", b"")
    picture = read_picture(path)
    assert picture.grey
    assert np.array_equal(deep(again(path)), values[..., [0, 0, 0, 1]])
    assert np.array_equal(tifffile.imread(write_picture(tmp_path / "b.tif", picture, Encoding("tiff"))), values)


KINDS = [(".png", 8), (".jpg", 8), (".webp", 8), (".tif", 8), (".png", 16), (".tif", 16)]


@pytest.mark.parametrize(("suffix", "depth"), KINDS)
def test_profile_resolution_and_exif_are_kept(tmp_path, suffix, depth):
    path = tmp_path / f"a{suffix}"
    Image.fromarray(samples(3)).save(path, icc_profile=SRGB, dpi=(300, 150), exif=exif_of())
    picture = read_picture(path)
    larger = picture.enlarged(enlarge(picture.colour, 2), 2)
    with Image.open(again(path, replace(larger, depth=depth))) as made:
        assert made.size == (2 * W, 2 * H)
        assert made.info["icc_profile"] == SRGB
        if suffix != ".webp":
            assert np.allclose(made.info["dpi"], (300, 150), atol=0.02)
        exif = made.getexif()
        assert (exif[BASE.Artist], exif[BASE.Make], exif.get(BASE.Orientation, 1)) == ("Somebody", "Camera", 1)
        inner = exif.get_ifd(IFD.Exif)
        assert (inner[BASE.ExifImageWidth], inner[BASE.ExifImageHeight]) == (2 * W, 2 * H)
        assert inner[BASE.ISOSpeedRatings] == 200
        assert exif.get_ifd(IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] == (52.0, 30.0, 0.0)


def test_a_file_without_them_gets_none(tmp_path):
    for suffix in (".png", ".jpg", ".webp", ".tif"):
        image("RGB").save(tmp_path / f"a{suffix}")
        with Image.open(again(tmp_path / f"a{suffix}")) as made:
            assert not {"icc_profile", "exif", "dpi"} & set(made.info) - ({"dpi"} if suffix == ".tif" else set())
            assert not made.getexif().get_ifd(IFD.Exif)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_and_reset(tmp_path, suffix, orientation):
    path = tmp_path / f"a{suffix}"
    options = {"lossless": True} if suffix == ".webp" else {}
    image("RGB").save(path, exif=exif_of(orientation=orientation), **options)
    with Image.open(path) as opened:
        upright = np.asarray(ImageOps.exif_transpose(opened))
    assert np.array_equal(read_picture(path).pixels(8), upright)
    with Image.open(again(path)) as made:
        assert made.size == (upright.shape[1], upright.shape[0])
        assert made.getexif().get(BASE.Orientation, 1) == 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_sixteen_bits(tmp_path, orientation):
    values, path = samples(3, 16), tmp_path / "a.png"
    exif = exif_of(orientation=orientation)
    plain = cv2.imencode(".png", values[..., ::-1])[1].tobytes()
    with path.open("wb") as handle:
        handle.write(plain[:33])
        PngImagePlugin.putchunk(handle, b"eXIf", exif[6:])
        handle.write(plain[33:])
    eight = Image.fromarray((values // 256).astype(np.uint8))
    eight.getexif()[BASE.Orientation] = orientation
    assert np.array_equal(read_picture(path).pixels(16) // 256, np.asarray(ImageOps.exif_transpose(eight)))


@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_a_jpeg_keeps_its_subsampling_and_has_the_asked_quality(tmp_path, subsampling):
    path = tmp_path / "a.jpg"
    image("RGB").save(path, quality=70, subsampling=subsampling)
    with Image.open(again(path)) as made, Image.open(again(path, quality=30)) as small:
        assert (made.format, made.mode) == ("JPEG", "RGB")
        assert Image.open(path).layer == made.layer
        image("RGB").save(tmp_path / "reference.jpg", quality=30)
        assert small.quantization == Image.open(tmp_path / "reference.jpg").quantization
    image("L").save(path)
    assert Image.open(again(path)).mode == "L"


def test_a_webp_is_lossless_where_it_was(tmp_path):
    path = tmp_path / "a.webp"
    for lossless in (True, False):
        image("RGBA").save(path, lossless=lossless, exif=exif_of())
        assert webp_is_lossless(path) == lossless
        assert webp_is_lossless(again(path)) == lossless
    image("RGB").save(tmp_path / "a.png")
    picture = read_picture(tmp_path / "a.png")
    assert webp_is_lossless(write_picture(path, picture, Encoding("webp")))
    assert not webp_is_lossless(write_picture(path, picture, Encoding("webp", 80)))


@pytest.mark.parametrize("mode", ["P", "L", "RGB", "1"])
def test_a_transparent_colour_becomes_transparency(tmp_path, mode):
    path, original = tmp_path / "a.png", image(mode)
    colour = original.getpixel((3, 4))
    original.save(path, transparency=colour)
    with Image.open(path) as opened:
        expected = np.asarray(opened.convert("RGBA"))[..., 3]
    assert 0 < (expected == 0).sum() < H * W
    assert np.array_equal(read_picture(path).pixels(8)[..., -1], expected)


def test_alpha_is_enlarged_alone_and_colour_beneath_it_does_not_bleed(tmp_path):
    values = np.full((12, 12, 4), 255, np.uint8)
    values[:, 6:] = (0, 0, 0, 0)
    path = tmp_path / "a.png"
    Image.fromarray(values).save(path)
    picture = read_picture(path)
    assert torch.equal(picture.colour, torch.ones(1, 3, 12, 12))
    larger = picture.enlarged(enlarge(picture.colour, 2), 2)
    alpha = torch.from_numpy(values[..., 3].copy()).float()[None, None] / 255
    assert torch.equal(larger.alpha, enlarge(alpha, 2).clamp(0, 1))
    values[:, 6:] = (255, 0, 0, 0)
    Image.fromarray(values).save(path)
    assert torch.equal(read_picture(path).colour, picture.colour)


def test_a_png_keeps_text_and_what_it_says_of_colour_but_no_xmp(tmp_path):
    path, info = tmp_path / "a.png", PngImagePlugin.PngInfo()
    info.add_text("parameters", "a cat, steps: 4")
    info.add_itxt("XML:com.adobe.xmp", "<x/>")
    info.add(b"gAMA", struct.pack(">I", 100000))
    image("RGB").save(path, pnginfo=info)
    made = Image.open(again(path))
    assert (made.info["gamma"], made.text) == (1.0, {"parameters": "a cat, steps: 4"})


def test_a_png_has_no_srgb_chunk_beside_a_profile(tmp_path):
    path, info = tmp_path / "a.png", PngImagePlugin.PngInfo()
    info.add(b"sRGB", b"\0")
    image("RGB").save(path, pnginfo=info)
    assert Image.open(again(path)).info["srgb"] == 0
    written = again(path, replace(read_picture(path), icc=SRGB)).read_bytes()
    assert b"iCCP" in written
    assert "srgb" not in Image.open(tmp_path / "again.png").info


def test_a_name_that_lies_is_written_as_what_it_was(tmp_path):
    image("RGBA").save(tmp_path / "a.jpg", "PNG")
    assert Image.open(again(tmp_path / "a.jpg")).format == "PNG"


def test_jpeg_takes_only_opaque_images(tmp_path):
    image("RGBA").save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a JPEG holds no transparency; write it as PNG, WebP or TIFF \(--format\)"):
        again(tmp_path / "a.png", format="jpeg")
    assert not list(tmp_path.glob("*again*"))
    opaque = image("RGBA")
    opaque.putalpha(255)
    opaque.save(tmp_path / "a.png")
    assert Image.open(again(tmp_path / "a.png", format="jpeg")).mode == "RGB"


def cmyk_profile() -> bytes:
    """A printer's profile of one lookup table: lightness falls with every ink, to nothing with black."""
    grid = [(c, m, y, k) for c in (0, 1) for m in (0, 1) for y in (0, 1) for k in (0, 1)]
    lab = b"".join(bytes([round(255 * (1 - k) * (1 - (c + m + y) / 4)), 128, 128]) for c, m, y, k in grid)
    ramp = bytes(range(256))
    matrix = struct.pack(">9i", *(65536 if i % 4 == 0 else 0 for i in range(9)))
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + matrix + ramp * 4 + lab + ramp * 3
    table += bytes(-len(table) % 4)
    body = struct.pack(">I4sII", 1, b"A2B0", 144, len(table)) + table
    white = struct.pack(">3i", 63190, 65536, 54061)
    kind = (0x02400000, b"prtr", b"CMYK", b"Lab ", bytes(12), b"acsp")
    head = struct.pack(">I4sI4s4s4s12s4s", 128 + len(body), bytes(4), *kind)
    return head + bytes(28) + white + bytes(48) + body


def test_cmyk_is_converted_through_its_profile_or_refused(tmp_path):
    path = tmp_path / "a.tif"
    inks = np.zeros((H, W, 4), np.uint8)
    inks[:, 5:10, 3], inks[:, 10:, 0] = 255, 255
    Image.fromarray(inks, "CMYK").save(path, icc_profile=cmyk_profile())
    made = Image.open(again(path))
    assert made.mode == "RGB"
    assert ImageCms.ImageCmsProfile(io.BytesIO(made.info["icc_profile"])).profile.xcolor_space == "RGB "
    white, black, cyan = (np.asarray(made)[0, x].astype(int) for x in (0, 7, 14))
    assert white.min() > 245
    assert black.max() < 10
    assert 150 < cyan.mean() < 200  # L* = 75; without a profile cyan would be (0, 255, 255)
    Image.fromarray(inks, "CMYK").save(path)
    with pytest.raises(UnsupportedImageError, match=r"a\.tif is CMYK without a profile, .*; convert it to RGB"):
        read_picture(path)


def several(path: Path, **options) -> Path:
    frames = [Image.fromarray(samples(3, seed=seed)) for seed in range(3)]
    frames[0].save(path, save_all=True, append_images=frames[1:], **options)
    return path


def test_animations_and_pages_are_refused(tmp_path):
    for path in (several(tmp_path / "a.webp"), several(tmp_path / "a.png")):
        with pytest.raises(UnsupportedImageError, match="has 3 frames: it is animated; save those you want"):
            read_picture(path)
    with pytest.raises(UnsupportedImageError, match="has 3 pages; save those you want as images of their own"):
        read_picture(several(tmp_path / "a.tif"))


def test_of_a_jpeg_with_more_pictures_inside_it_is_the_main_one(tmp_path):
    frames = [Image.fromarray(samples(3, seed=seed)) for seed in range(2)]
    frames[0].save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=frames[1:], quality=95)
    frames[0].save(tmp_path / "b.jpg", quality=95)
    picture = read_picture(tmp_path / "a.jpg")
    assert picture.format == "jpeg"
    assert torch.equal(picture.colour, read_picture(tmp_path / "b.jpg").colour)


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (samples(1).astype("int16"), {"photometric": "minisblack"}, "samples of 16 bits, signed"),
        (samples(1).astype("uint32"), {"photometric": "minisblack"}, "samples of 32 bits"),
        (samples(1).astype("float32"), {"photometric": "minisblack"}, "samples of 32 bits"),
        (np.moveaxis(samples(3, 16), -1, 0), {"photometric": "rgb", "planarconfig": "separate"}, "its channels apart"),
        (samples(4), {"photometric": "rgb", "extrasamples": ["unspecified"]}, "has 4 channels, not all of known"),
        (samples(4, 16), {"photometric": "rgb", "extrasamples": ["unspecified"]}, "has 4 channels, not all of known"),
        (samples(4, 16), {"photometric": "separated"}, "is CMYK of 16 bits; convert it to RGB"),
    ],
)
def test_samples_that_would_not_be_kept_are_refused(tmp_path, values, options, message):
    tifffile.imwrite(tmp_path / "a.tif", values, **options)
    with pytest.raises(ValueError, match=message):
        read_picture(tmp_path / "a.tif")


def test_too_many_pixels_are_refused_and_many_are_read_without_a_warning(tmp_path, monkeypatch, recwarn):
    image("RGB").save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", H * W // 2 - 1)
    with pytest.raises(UnsupportedImageError, match=r"a\.png has more than the 184 pixels that are read; cut it into"):
        read_picture(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", H * W - 1)
    assert read_picture(tmp_path / "a.png").size == (W, H)
    assert not recwarn


def test_what_cannot_be_read_says_why(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"image .*gone\.png is missing; put it back"):
        read_picture(tmp_path / "gone.png")
    (tmp_path / "a.gif").write_bytes(b"GIF89a")
    with pytest.raises(ValueError, match=r"a\.gif is not an image that can be read \(PNG, JPEG, WebP, TIFF or BMP"):
        read_picture(tmp_path / "a.gif")
    image("RGB").save(tmp_path / "a.png")

    def forbidden(*_, **__):
        raise PermissionError(13, "Permission denied", "a.png")

    monkeypatch.setattr(Image, "open", forbidden)
    with pytest.raises(PermissionError, match=r"a\.png cannot be read \(Permission denied\); make it readable"):
        read_picture(tmp_path / "a.png")


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", "16.png"])
def test_a_damaged_file_is_an_error_in_one_line_or_an_image(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    if suffix == "16.png":
        cv2.imwrite(str(path), samples(3, 16))
    else:
        image("RGB").save(path, exif=exif_of(), icc_profile=SRGB[:64])
    whole, changed = path.read_bytes(), st.tuples(st.integers(0, 300), st.integers(0, 255))

    @settings(max_examples=40, deadline=None)
    @given(end=st.integers(0, len(whole)), places=st.lists(changed, max_size=3))
    def check(end, places):
        damaged = bytearray(whole[:end])
        for place, value in places:
            if place < len(damaged):
                damaged[place] = value
        path.write_bytes(damaged)
        try:
            picture = read_picture(path)
        except ValueError as error:
            assert str(path) in str(error)
            assert ";" in str(error)
        else:
            assert picture.colour.isfinite().all()

    check()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="truncated or damaged|not an image"):
        read_picture(path)


def test_grey_of_a_coloured_result_is_its_luma(tmp_path):
    image("L").save(tmp_path / "a.png")
    picture = read_picture(tmp_path / "a.png")
    coloured = torch.tensor([0.2, 0.5, 0.9]).view(1, 3, 1, 1).expand(1, 3, 2 * H, 2 * W)
    with Image.open(again(tmp_path / "a.png", picture.enlarged(coloured, 2))) as made:
        assert made.getpixel((0, 0)) == round(255 * (0.299 * 0.2 + 0.587 * 0.5 + 0.114 * 0.9))
