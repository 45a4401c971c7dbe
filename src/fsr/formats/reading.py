"""Reading image files with all they carry; what cannot be kept is refused."""

import io
import warnings
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import ExifTags, Image, ImageCms, ImageOps, JpegImagePlugin, TiffImagePlugin, UnidentifiedImageError
from torch import Tensor

from fsr.formats.metadata import kept_chunks, kept_exif, resolution, webp_is_lossless
from fsr.formats.picture import Picture

READ = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")
GREY, COLOUR, PALETTE = ("1", "L", "LA", "La"), ("RGB", "RGBX", "RGBA", "RGBa"), ("P", "PA")
WHITE_IS_ZERO, ASSOCIATED, PLANAR, UNSIGNED = 0, 1, 2, 1  # values of TIFF's tags
BITS, PHOTOMETRIC, CHANNELS, PLANES, EXTRA_SAMPLES, SAMPLE_FORMAT = 258, 262, 277, 284, 338, 339
TURNED: dict[int, Callable[[np.ndarray], np.ndarray]] = {  # by EXIF's orientation
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: np.rot90(image, 2).swapaxes(0, 1),
    8: lambda image: np.rot90(image),
}


class UnsupportedImageError(ValueError):
    """A whole image of a kind whose larger version would not be right; the message says what to do."""


def read_picture(path: Path | str) -> Picture:
    """An image file, upright: PNG, JPEG, WebP, TIFF or BMP, of 8 or 16 bits.

    CMYK is converted to sRGB through its profile. Of a JPEG with more pictures inside (MPO) it is the first, the main
    one. Colours of wholly transparent pixels are those of the nearest pixel that shows.

    Raises:
        FileNotFoundError, OSError: nothing at `path`, or it may not be read.
        UnsupportedImageError: animated, of several pages, too many pixels, or of samples that would lose precision.
        ValueError: the file is not an image, or is truncated or damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"image {path} is missing; put it back, or correct its name")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=READ) as opened:
                return _picture(opened, path)
    except (UnsupportedImageError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise UnsupportedImageError(
            f"{path} has more than the {2 * Image.MAX_IMAGE_PIXELS:,} pixels that are read; cut it into parts"
        ) from error
    except UnidentifiedImageError as error:
        raise ValueError(
            f"{path} is not an image that can be read (PNG, JPEG, WebP, TIFF or BMP of 8 or 16 bits); convert or "
            "remove it"
        ) from error
    except Exception as error:  # whatever a decoder makes of damaged bytes
        if isinstance(error, OSError) and error.errno is not None:
            raise OSError(error.errno, f"{path} cannot be read ({error.strerror}); make it readable") from error
        raise ValueError(f"{path} is truncated or damaged ({error}); fetch it again or remove it") from error


def _picture(opened: Image.Image, path: Path) -> Picture:
    _check_parts(opened, path)
    exif, orientation = kept_exif(opened), opened.getexif().get(ExifTags.Base.Orientation, 1)
    kind = {"MPO": "jpeg"}.get(opened.format, opened.format.lower())
    depth = _depth(opened, path)
    subsampling = max(JpegImagePlugin.get_sampling(opened), 0) if kind == "jpeg" else 0
    icc, dpi = opened.info.get("icc_profile"), resolution(opened.info)
    opened.load()
    if depth == 16:
        samples, grey = _deep_samples(opened, path)
        samples = TURNED.get(orientation, lambda image: image)(samples)
    else:
        image, icc = _plain(ImageOps.exif_transpose(opened), icc, path)
        samples, grey = np.atleast_3d(np.asarray(image)), image.mode.startswith("L")
    colour, alpha = _planes(samples, grey)
    return Picture(
        colour=colour,
        alpha=alpha,
        grey=grey,
        depth=depth,
        format=kind,
        lossless=webp_is_lossless(path) if kind == "webp" else kind != "jpeg",
        subsampling=subsampling,
        icc=icc,
        dpi=dpi,
        exif=exif,
        chunks=kept_chunks(path) if kind == "png" else (),
    )


def _check_parts(opened: Image.Image, path: Path) -> None:
    frames = getattr(opened, "n_frames", 1)
    if frames > 1 and opened.format != "MPO":
        what = "pages" if opened.format == "TIFF" else "frames: it is animated"
        raise UnsupportedImageError(f"{path} has {frames} {what}; save those you want as images of their own")
    channels = getattr(opened, "tag_v2", {}).get(CHANNELS, 1)
    if channels > len(opened.getbands()):
        raise UnsupportedImageError(
            f"{path} has {channels} channels, not all of known meaning; save it as grey, RGB or RGBA"
        )


def _depth(opened: Image.Image, path: Path) -> int:
    """Bits of a sample: 16, or 8 for up to that many."""
    if opened.format == "PNG":
        with path.open("rb") as handle:
            return 16 if handle.read(25)[24] == 16 else 8
    if not isinstance(opened, TiffImagePlugin.TiffImageFile):
        return 8
    bits, kinds = (opened.tag_v2.get(tag, (1,)) for tag in (BITS, SAMPLE_FORMAT))
    if set(kinds) != {UNSIGNED} or (max(bits) > 8 and set(bits) != {16}):
        raise UnsupportedImageError(
            f"{path} has samples of {max(bits)} bits, signed, of fractions or too many; convert it to 8 or 16 bits"
        )
    return 16 if max(bits) == 16 else 8


def _deep_samples(opened: Image.Image, path: Path) -> tuple[np.ndarray, bool]:
    """(H, W, C) uint16 as stored, and whether it is grey; Pillow itself would keep 8 bits of colour."""
    tags = getattr(opened, "tag_v2", {})
    if not opened.mode.startswith(("I", "RGB")):
        raise UnsupportedImageError(f"{path} is {opened.mode} of 16 bits; convert it to RGB, through its profile")
    if tags.get(PLANES) == PLANAR and not opened.mode.startswith("I"):
        raise UnsupportedImageError(f"{path} is of 16 bits with its channels apart; save it with interleaved channels")
    if "transparency" in opened.info:
        raise UnsupportedImageError(f"{path} is of 16 bits with a transparent colour; save it with an alpha channel")
    samples = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    if samples is None or samples.dtype != np.uint16:
        raise UnsupportedImageError(f"{path} is of 16 bits in a form that is not read here; save it as a plain PNG")
    samples = np.atleast_3d(samples)
    if samples.shape[-1] == 1:
        return (65535 - samples if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO else samples), True
    samples = samples[..., [2, 1, 0, 3][: len(opened.getbands())]]
    if ASSOCIATED in tags.get(EXTRA_SAMPLES, ()):
        samples = _not_premultiplied(samples)
    grey = opened.format == "PNG" and _png_is_grey(path)
    return (samples[..., [0, 3]] if grey else samples), grey


def _not_premultiplied(samples: np.ndarray) -> np.ndarray:
    colour, alpha = samples[..., :3].astype(np.float64), samples[..., 3:]
    straight = (colour * 65535 / np.maximum(alpha, 1)).round().clip(0, 65535).astype(np.uint16)
    return np.concatenate([straight, alpha], axis=-1)


def _png_is_grey(path: Path) -> bool:
    with path.open("rb") as handle:
        return handle.read(26)[25] in (0, 4)


def _plain(image: Image.Image, icc: bytes | None, path: Path) -> tuple[Image.Image, bytes | None]:
    """The image in L, LA, RGB or RGBA, and the profile it then has."""
    if image.mode == "CMYK":
        if not icc:
            raise UnsupportedImageError(
                f"{path} is CMYK without a profile, so that its colours are not known; convert it to RGB"
            )
        srgb = ImageCms.createProfile("sRGB")
        source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        converted = ImageCms.profileToProfile(image, source, srgb, outputMode="RGB")
        return converted, ImageCms.ImageCmsProfile(srgb).tobytes()
    if image.mode not in (*GREY, *COLOUR, *PALETTE):
        raise UnsupportedImageError(f"{path} is of mode {image.mode}; convert it to grey or RGB of 8 or 16 bits")
    alpha = "A" if image.has_transparency_data else ""
    return image.convert(("L" if image.mode in GREY else "RGB") + alpha), icc


def _planes(samples: np.ndarray, grey: bool) -> tuple[Tensor, Tensor | None]:
    """Colour (1, 3, h, w) and alpha (1, 1, h, w) in [0, 1] of (h, w, C) as stored."""
    levels, channels = np.iinfo(samples.dtype).max, 1 if grey else 3
    colour, alpha = samples[..., :channels], samples[..., channels:]
    if alpha.shape[-1]:
        colour = _filled(colour, alpha[..., 0] > 0)
    planes = [torch.from_numpy(np.float32(part) / levels).permute(2, 0, 1)[None] for part in (colour, alpha)]
    return planes[0].expand(-1, 3, -1, -1).contiguous(), planes[1].contiguous() if alpha.shape[-1] else None


def _filled(colour: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """Colour with that of the nearest visible pixel where nothing shows, so that nothing hidden bleeds into edges."""
    if visible.all() or not visible.any():
        return colour
    hidden = (~visible).astype(np.uint8)
    _, labels = cv2.distanceTransformWithLabels(hidden, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    nearest = np.zeros(labels.max() + 1, np.int64)
    nearest[labels[visible]] = np.flatnonzero(visible)
    return colour.reshape(-1, colour.shape[-1])[nearest[labels]]
