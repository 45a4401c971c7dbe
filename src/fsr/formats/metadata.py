"""What a file carries beside its pixels."""

import math
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from PIL import ExifTags, Image

# IFD0's tags that tell of the picture and not of how its file is laid out.
DESCRIPTIVE = frozenset({
    *("DocumentName", "ImageDescription", "Make", "Model", "XResolution", "YResolution", "ResolutionUnit", "Software"),
    *("DateTime", "Artist", "HostComputer", "WhitePoint", "PrimaryChromaticities", "YCbCrCoefficients", "Copyright"),
    *("YCbCrPositioning", "ReferenceBlackWhite", "Rating", "RatingPercent"),
    *("XPTitle", "XPComment", "XPAuthor", "XPKeywords", "XPSubject"),
})  # fmt: skip
PNG_COLOUR, PNG_TEXT = (b"cHRM", b"gAMA", b"sRGB", b"cICP"), (b"tEXt", b"zTXt", b"iTXt")
PNG_COPIED_ELSEWHERE = (b"XML:com.adobe.xmp", b"Raw profile type")  # XMP is not kept; EXIF and ICC are, as chunks


def kept_exif(opened: Image.Image) -> Image.Exif:
    """What EXIF says of the picture, GPS included; neither orientation nor thumbnail, and nothing of the file's layout.

    Raises:
        ValueError: it is damaged.
    """
    kept = Image.Exif()
    try:
        exif = opened.getexif()
        for name in DESCRIPTIVE:
            if (tag := ExifTags.Base[name]) in exif:
                kept[tag] = exif[tag]
        for ifd in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
            if found := dict(exif.get_ifd(ifd)):
                kept[ifd] = found
        if ExifTags.IFD.Interop in (inner := kept.get(ExifTags.IFD.Exif, {})):
            inner[ExifTags.IFD.Interop] = dict(exif.get_ifd(ExifTags.IFD.Interop))
        if len(kept):
            kept.tobytes()
    except Exception as error:  # whatever Pillow makes of damaged bytes
        raise ValueError(f"its EXIF cannot be read: {error}") from error
    return kept


def exif_of_size(exif: Image.Exif, size: tuple[int, int]) -> Image.Exif:
    """A copy that says it is upright, and of the size (width, height) where it says a size; empty where `exif` is."""
    copy = Image.Exif()
    if not len(exif):
        return copy
    for tag, value in exif.items():
        copy[tag] = dict(value) if isinstance(value, dict) else value
    copy[ExifTags.Base.Orientation] = 1
    inner = copy.get(ExifTags.IFD.Exif, {})
    for tag, side in zip((ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight), size, strict=True):
        if tag in inner:
            inner[tag] = side
    return copy


def resolution(info: Mapping[str, Any]) -> tuple[float, float] | None:
    """Dots an inch, horizontally and vertically; None where the file has none that make sense."""
    try:
        dots = tuple(float(value) for value in info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    return dots if len(dots) == 2 and all(math.isfinite(value) and value > 0 for value in dots) else None


def webp_is_lossless(path: Path) -> bool:
    """Whether a WebP's picture is stored without loss."""
    with path.open("rb") as handle:
        handle.seek(12)
        while len(head := handle.read(8)) == 8:
            name, length = head[:4], int.from_bytes(head[4:], "little")
            if name in (b"VP8L", b"VP8 "):
                return name == b"VP8L"
            handle.seek(length + length % 2, 1)
    return False


def kept_chunks(path: Path) -> tuple[tuple[bytes, bytes], ...]:
    """A PNG's chunks (name, data) about its colour, and those of text."""
    with path.open("rb") as handle:
        return tuple(
            (name, data)
            for name, data in _png_chunks(handle, (*PNG_COLOUR, *PNG_TEXT))
            if not (name in PNG_TEXT and data.startswith(PNG_COPIED_ELSEWHERE))
        )


def _png_chunks(handle: BinaryIO, names: tuple[bytes, ...]) -> Iterator[tuple[bytes, bytes]]:
    handle.seek(8)
    while len(head := handle.read(8)) == 8:
        length, name = struct.unpack(">I4s", head)
        if name in names:
            yield name, handle.read(length)
            handle.seek(4, 1)
        else:
            handle.seek(length + 4, 1)
