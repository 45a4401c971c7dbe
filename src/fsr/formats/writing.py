"""Writing image files with all they carry."""

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, TiffImagePlugin
from PIL.PngImagePlugin import putchunk

from fsr.files import write_atomically
from fsr.formats.metadata import exif_of_size
from fsr.formats.picture import Encoding, Picture

FORMATS = {"png": ".png", "jpeg": ".jpg", "webp": ".webp", "tiff": ".tif"}  # and their suffixes
AFTER_HEADER = 33  # where a PNG's first chunk ends
QUALITY = 95  # of lossy formats, 1 to 100
STRIP = 2**20  # bytes of a TIFF's strip, about
UNASSOCIATED, DEFLATE, DIFFERENCES = 2, 8, 2  # values of TIFF's tags


def write_picture(
    path: Path | str,
    picture: Picture,
    encoding: Encoding = Encoding(),  # noqa: B008 - frozen
    seal: Callable[[Path], None] = lambda file: None,
) -> Path:
    """Write a picture atomically, with its profile, resolution and EXIF, in 16 bits where it has them and PNG or TIFF.

    Args:
        seal: called with the whole file, before it is at `path`.

    Raises:
        ValueError: the format cannot hold it; says which can.
        OSError: it cannot be written; says what to do.
    """
    kind = picture.format if encoding.format == "keep" else encoding.format
    write = {"jpeg": _save_jpeg, "webp": _save_webp, "tiff": _save_tiff}.get(kind, _save_png)

    def written(temporary: Path) -> None:
        write(temporary, picture, encoding)
        seal(temporary)

    return write_atomically(path, written)


def _save_jpeg(file: Path, picture: Picture, encoding: Encoding) -> None:
    if picture.alpha is not None and picture.alpha.min() < 1:
        raise ValueError("a JPEG holds no transparency; write it as PNG, WebP or TIFF (--format)")
    options = {"quality": encoding.quality or QUALITY, "subsampling": picture.subsampling, **_carried(picture)}
    _image(replace(picture, alpha=None)).save(file, "JPEG", **options)


def _save_webp(file: Path, picture: Picture, encoding: Encoding) -> None:
    asked_lossy = encoding.format == "webp" and encoding.quality is not None
    options = {"lossless": picture.lossless and not asked_lossy, "quality": encoding.quality or QUALITY, "exact": True}
    _image(picture).save(file, "WEBP", **options, **_carried(picture))


def _carried(picture: Picture) -> dict[str, Any]:
    """Pillow's arguments for what there is beside pixels."""
    exif = exif_of_size(picture.exif, picture.size)
    found = {"icc_profile": picture.icc, "exif": exif if len(exif) else None, "dpi": picture.dpi}
    return {name: value for name, value in found.items() if value}


def _image(picture: Picture) -> Image.Image:
    pixels = picture.pixels(8)
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def _save_png(file: Path, picture: Picture, encoding: Encoding) -> None:
    """Pixels as Pillow (8 bits) or OpenCV (16) compress them, with our own chunks before them."""
    if picture.depth == 8:
        _image(picture).save(buffer := io.BytesIO(), "PNG")
        plain = buffer.getvalue()
    else:
        pixels = picture.pixels(16)
        order = {1: [0], 2: [0, 0, 0, 1], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[pixels.shape[-1]]
        plain = cv2.imencode(".png", np.ascontiguousarray(pixels[..., order]))[1].tobytes()
    with file.open("wb") as handle:
        handle.write(plain[:AFTER_HEADER])
        for name, data in _png_chunks(picture):
            putchunk(handle, name, data)
        handle.write(plain[AFTER_HEADER:])


def _png_chunks(picture: Picture) -> list[tuple[bytes, bytes]]:
    chunks = [] if picture.icc is None else [(b"iCCP", b"ICC Profile\0\0" + zlib.compress(picture.icc))]
    chunks += [chunk for chunk in picture.chunks if picture.icc is None or chunk[0] != b"sRGB"]
    if picture.dpi:
        chunks.append((b"pHYs", struct.pack(">IIB", *(round(dots / 0.0254) for dots in picture.dpi), 1)))
    if len(exif := exif_of_size(picture.exif, picture.size)):
        chunks.append((b"eXIf", exif.tobytes()[6:]))
    return chunks


def _save_tiff(file: Path, picture: Picture, encoding: Encoding) -> None:
    """Strips of deflated differences; every tag of the picture's EXIF is one of the file's."""
    pixels = picture.pixels(picture.depth)
    height, width, channels = pixels.shape
    rows = max(1, STRIP // pixels[0].nbytes)
    differences = np.diff(pixels, axis=1, prepend=np.zeros_like(pixels[:, :1]))
    little = differences.astype(differences.dtype.newbyteorder("<"), copy=False)
    strips = [zlib.compress(little[top : top + rows].tobytes()) for top in range(0, height, rows)]
    lengths = [len(strip) for strip in strips]
    tags = dict(exif_of_size(picture.exif, picture.size).items()) | {
        256: width,
        257: height,
        258: (picture.depth,) * channels,
        259: DEFLATE,
        262: 1 if picture.grey else 2,
        273: tuple(int(offset) for offset in np.cumsum([0, *lengths[:-1]])),
        277: channels,
        278: rows,
        279: tuple(lengths),
        284: 1,
        317: DIFFERENCES,
    }
    tags |= {338: UNASSOCIATED} if picture.alpha is not None else {}
    tags |= {34675: picture.icc} if picture.icc else {}
    if picture.dpi:
        tags |= {282: picture.dpi[0], 283: picture.dpi[1], 296: 2}
    directory = TiffImagePlugin.ImageFileDirectory_v2(prefix=b"II")
    for tag, value in tags.items():
        directory[tag] = value
    with file.open("wb") as handle:
        directory.save(handle)
        handle.writelines(strips)
