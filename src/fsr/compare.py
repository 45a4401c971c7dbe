"""Two images, or two folders of them, as one page with a before/after slider."""

import base64
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from PIL import ExifTags, Image, UnidentifiedImageError

from fsr.demo.page import png, rendered
from fsr.files import write_atomically, write_text
from fsr.images import enlarge, list_images, read_image

EMBEDDED_LIMIT = 64 * 2**20  # bytes of pictures that a page holds before a browser gets slow
SHOWN = {"PNG": "png", "JPEG": "jpeg", "WEBP": "webp"}  # formats that every browser shows
ENLARGEMENTS = ("bicubic", "nearest")


@dataclass(frozen=True)
class Pair:
    """Two files of one picture, and how often the sides of each go into those of the larger: (1, 1), (2, 1), ...

    Attributes:
        size: (width, height) of the larger. bytes: what both will take, about.
    """

    name: str
    files: tuple[Path, Path]
    factors: tuple[int, int]
    size: tuple[int, int]
    bytes: int


@dataclass(frozen=True)
class Pairs:
    """What is compared, and per side the names that the other does not have."""

    pairs: list[Pair]
    only: tuple[list[str], list[str]]


@dataclass(frozen=True)
class Picture:
    """A picture on the page: where it comes from, what is said of it, and whether the browser repeats its pixels."""

    source: str
    note: str
    pixelated: bool


@dataclass(frozen=True)
class Shown:
    """A pair on the page; width and height in pixels are those of the larger picture."""

    name: str
    left: Picture
    right: Picture
    width: int
    height: int


def find_pairs(first: Path, second: Path) -> Pairs:
    """Two images as a pair, or the images of two folders paired by their names without suffix.

    Raises:
        FileNotFoundError: there is no such image or folder, or a folder holds no image.
        ValueError: one is a folder and the other is not, no name is in both, a name is twice in one folder, a file is
            no image, or the sizes of a pair are no integer multiple of each other.
    """
    for path in (first, second):
        if not path.exists():
            raise FileNotFoundError(f"{path} is missing; give two images or two folders of them")
    if first.is_dir() != second.is_dir():
        raise ValueError(f"{first} and {second} are an image and a folder; give two images or two folders of them")
    if first.is_file():
        return Pairs([_pair(first.stem, first, second)], ([], []))
    left, right = _by_stem(first), _by_stem(second)
    common = [name for name in left if name in right]
    if not common:
        raise ValueError(f"no image of {first} has the name of one of {second}; name them alike, whatever their suffix")
    only = [name for name in left if name not in right], [name for name in right if name not in left]
    return Pairs([_pair(name, left[name], right[name]) for name in common], only)


def default_names(first: Path, second: Path) -> tuple[str, str]:
    """What the two sides are called: their last part, or all of their paths where that is the same."""
    names = first.resolve().name, second.resolve().name
    return (str(first), str(second)) if names[0] == names[1] else names


def write_comparison(
    found: Pairs,
    output: Path,
    names: tuple[str, str],
    enlargement: str = "bicubic",
    advance: Callable[[str], None] = lambda _: None,
) -> Path | None:
    """Write the page, atomically; the folder beside it that holds its pictures, or None where it holds them itself.

    It does up to `EMBEDDED_LIMIT` bytes of them. PNG, JPEG and WebP files are shown as they are; others as PNG. The
    smaller of a pair is enlarged: "bicubic" as fsr.images.enlarge does, or "nearest" by the browser.

    Raises:
        ValueError: an unknown enlargement, or an image is damaged.
        OSError: the page cannot be written.
    """
    if enlargement not in ENLARGEMENTS:
        raise ValueError(f"enlargement {enlargement!r} is unknown; choose one of {', '.join(ENLARGEMENTS)}")
    embedded = sum(pair.bytes for pair in found.pairs) <= EMBEDDED_LIMIT
    folder = None if embedded else output.with_name(f"{output.stem}_files")
    shown = []
    for index, pair in enumerate(found.pairs):
        pictures = [
            _picture(pair, side, enlargement, folder, f"{index:04d}-{name}")
            for side, name in enumerate(("left", "right"))
        ]
        shown.append(Shown(pair.name, *pictures, *pair.size))
        advance(pair.name)
    page = rendered(
        "compare.html.j2",
        names=names,
        pairs=shown,
        embedded=embedded,
        enlargement=_said(found, enlargement),
        left_out=list(left_out(found, names)),
    )
    write_text(output, page)
    return folder


def left_out(found: Pairs, names: tuple[str, str]) -> Iterator[str]:
    """A line for each side that has images the other does not."""
    for name, only in zip(names, found.only, strict=True):
        if only:
            more = f" and {len(only) - 10} more" if len(only) > 10 else ""
            yield f"only in {name}, not shown: {', '.join(only[:10])}{more}"


def _by_stem(folder: Path) -> Mapping[str, Path]:
    files: dict[str, Path] = {}
    for file in list_images(folder):
        if file.stem in files:
            raise ValueError(f"{files[file.stem]} and {file} have one name; rename or remove one")
        files[file.stem] = file
    return files


def _pair(name: str, first: Path, second: Path) -> Pair:
    (width, height), other = sizes = _size(first), _size(second)
    swapped = other > sizes[0]
    small, large = sizes if swapped else sizes[::-1]
    factor = large[0] // small[0]
    if (small[0] * factor, small[1] * factor) != large:
        raise ValueError(
            f"{first} has {width}x{height} pixels and {second} {other[0]}x{other[1]}: neither is an integer multiple "
            "of the other; crop or resize one"
        )
    factors = (factor, 1) if swapped else (1, factor)
    weights = (file.stat().st_size * by**2 for file, by in zip((first, second), factors, strict=True))
    return Pair(name, (first, second), factors, large, sum(weights))


def _size(path: Path) -> tuple[int, int]:
    """(width, height) as shown, turned where EXIF says so."""
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
            return image.size[::-1] if turned else image.size
    except UnidentifiedImageError as error:
        raise ValueError(f"{path} is not an image that can be read; replace or remove it") from error
    except Image.DecompressionBombError as error:
        raise ValueError(f"{path} has too many pixels to be read safely ({error}); crop it") from error
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{path} is truncated or damaged ({error}); fetch it again or remove it") from error


def _picture(pair: Pair, side: int, enlargement: str, folder: Path | None, name: str) -> Picture:
    file, factor = pair.files[side], pair.factors[side]
    width, height = (length // factor for length in pair.size)
    note, repeated = f"{width}×{height}", factor > 1 and enlargement == "nearest"
    if factor > 1:
        note += f", shown {factor}× as large ({enlargement})"
    data, kind = _bytes(file, 1 if repeated else factor)
    if folder is None:
        return Picture(f"data:image/{kind};base64,{base64.b64encode(data).decode()}", note, repeated)
    beside = write_atomically(folder / f"{name}.{kind}", lambda temporary: temporary.write_bytes(data))
    return Picture(f"{quote(folder.name)}/{beside.name}", note, repeated)


def _bytes(file: Path, factor: int) -> tuple[bytes, str]:
    """A file's own bytes where browsers show them and nothing is to be enlarged, else a PNG's; and which kind."""
    x = read_image(file)
    with Image.open(file) as image:
        if factor == 1 and image.format in SHOWN:
            return file.read_bytes(), SHOWN[image.format]
    return png(enlarge(x, factor) if factor > 1 else x), "png"


def _said(found: Pairs, enlargement: str) -> str:
    if all(pair.factors == (1, 1) for pair in found.pairs):
        return ""
    how = {"bicubic": "bicubic interpolation (a = -0.5)", "nearest": "repeating its pixels (nearest)"}[enlargement]
    return f"Where one picture is smaller, it is enlarged to the size of the other by {how}."
