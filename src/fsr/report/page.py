"""The report's page: one HTML file that carries its pictures and asks the network for nothing."""

import base64
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from fsr.report.names import BASE, FSR, times
from fsr.report.per_image import ImageTable, table_id
from fsr.report.pictures import Gallery
from fsr.report.sheets import Chapter, Sheet, number
from fsr.report.style import DPI

PIXELS, CHART = 1.0, DPI / 96  # densities: pixel for pixel, and the size at which a chart's letters are the page's


@dataclass(frozen=True)
class Figure:
    """A PNG with its alternative text, its caption, and the pixels it holds per CSS pixel."""

    path: Path
    alt: str
    caption: str
    density: float = CHART

    @property
    def width(self) -> int:
        """Width on the page in CSS pixels, where there is room."""
        with Image.open(self.path) as picture:
            return round(picture.width / self.density)


@dataclass(frozen=True)
class Slider:
    """One test image to compare rows on. `pictures` is {row: id of its data URI in the page}."""

    image: str
    label: str  # the image, and its scale where there are several
    table: str  # id of the table of its numbers
    width: int
    height: int
    verdict: str
    warning: str
    pictures: dict[str, str]


@dataclass(frozen=True)
class AtScale:
    """What the page shows of one scale.

    Attributes:
        compared: up to five images, the methods side by side.
        images: the images shown: set, image, base, fsr, gain, as `pictures.shown` orders them.
    """

    psnr: Figure
    representative: Figure
    trend: Figure
    zooms: Figure
    compared: Figure
    contact_sheets: Sequence[Figure]
    gallery: Gallery
    images: pd.DataFrame
    total_images: int


@dataclass(frozen=True)
class Section:
    """A section of the page: paragraphs, chapters, sheets and figures in their order; folded away where asked."""

    name: str
    title: str
    parts: Sequence[str | Chapter | Sheet | Figure]
    folded: bool = False


@dataclass(frozen=True)
class Content:
    """What stands on the page, in its order."""

    experiment: str
    scales: Sequence[AtScale]
    protocol: str  # of the figures, the compared pictures and the numbers of single images
    cut: str
    warning: str  # empty where there is nothing to warn of
    sections: Sequence[Section]
    image_tables: Sequence[ImageTable]
    labels: Mapping[str, str]  # {set: what its heading calls it}

    @property
    def times(self) -> str:
        """What readers see of the scales."""
        return times(*(each.gallery.scale for each in self.scales))


class PictureStore:
    """Data URIs of pictures, each held once however many rows have those bytes."""

    def __init__(self) -> None:
        self.uris: dict[str, str] = {}

    def add(self, path: Path) -> str:
        """The id of a PNG's data URI.

        Raises:
            FileNotFoundError: the file is missing.
        """
        uri = data_uri(path)
        name = f"picture-{hashlib.sha256(uri.encode()).hexdigest()[:16]}"
        self.uris[name] = uri
        return name


def data_uri(path: Path) -> str:
    """A PNG as a data URI.

    Raises:
        FileNotFoundError: the file is missing.
    """
    if not path.is_file():
        raise FileNotFoundError(f"picture {path} is missing; benchmark again, or take its row out of report.gallery")
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


def render_page(content: Content) -> str:
    """The page as HTML text.

    Raises:
        FileNotFoundError: a picture is missing.
    """
    environment = Environment(
        loader=PackageLoader("fsr.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = data_uri
    environment.tests |= {"chapter": _is(Chapter), "sheet": _is(Sheet), "figure": _is(Figure)}
    store, gallery = PictureStore(), content.scales[0].gallery
    return environment.get_template("index.html.j2").render(
        content=content,
        sliders={heading: group for at in content.scales for heading, group in _sliders(content, at, store)},
        options={row: gallery.labels[row].label for row in gallery.rows},
        uris=store.uris,
        left=BASE,
        right=FSR,
    )


def _is(kind: type) -> Callable[[object], bool]:
    return lambda part: isinstance(part, kind)


def _sliders(content: Content, at: AtScale, store: PictureStore) -> Iterator[tuple[str, list[Slider]]]:
    """The heading and sliders of each set at one scale; the scale is named where there are several."""
    told = f", {times(at.gallery.scale)}" if len(content.scales) > 1 else ""
    for name, part in at.images.groupby("set", sort=False):
        yield (
            content.labels[name] + told,
            [_slider(at.gallery, part, place, told, store) for place in part.itertuples()],
        )


def _slider(gallery: Gallery, part: pd.DataFrame, place: Any, told: str, store: PictureStore) -> Slider:
    with Image.open(gallery.path(place.set, FSR, place.image)) as picture:
        width, height = picture.size
    pictures = {row: store.add(gallery.path(place.set, row, place.image)) for row in gallery.rows}
    gain, base, fsr = number(place.gain, 2, signed=True), number(place.base, 2), number(place.fsr, 2)
    return Slider(
        place.image,
        f"{place.image}{told}",
        table_id(gallery.scale, place.set),
        width,
        height,
        f"FSR {gain} dB over feature bicubic ({base} → {fsr} dB)",
        "FSR is worse here" if place.gain < 0 else "least gain of the set" if place.gain == part["gain"].min() else "",
        pictures,
    )
