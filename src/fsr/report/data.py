"""What the report says of the study's images: each set as it was found, and training images that show test images."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from fsr.files import read_json
from fsr.report.sheets import EMPTY, Cell, Chapter, Sheet, number

GENERATED = "generated"  # the source of a set the study made itself: there is no registered content to compare
SET_KEYS = ("name", "role", "source", "variant", "cropped", "verified", "licence", "files")
MATCH_KEYS = ("train_set", "train_image", "test_set", "test_image", "scale", "rotation_degrees", "mirrored", "overlap",
              "correlation", "inliers")  # fmt: skip
SETS_TEXT = (
    "Verified: the files have the registered content. A variant is named where a set is handed round in several, and "
    "stands in captions where its images are smaller than the registered ones."
)


@dataclass(frozen=True)
class ImageSet:
    """One set of the study as it was found; `reason` is empty where it is available.

    Attributes:
        images: how many there are, without the `excluded`.
        cropped: the variant's images are smaller than the registered ones.
        verified: its files have the registered content.
    """

    name: str
    role: str
    images: int = 0
    source: str = ""
    variant: str = ""
    cropped: bool = False
    verified: bool = False
    licence: str = ""
    excluded: tuple[str, ...] = ()
    reason: str = ""

    @property
    def label(self) -> str:
        """Its name, with what a reader of its numbers must know."""
        if self.reason:
            return self.name
        if self.source == GENERATED:
            return f"{self.name} (generated here)"
        variant = f" ({self.variant})" if self.cropped else ""
        return self.name + variant + ("" if self.verified else ", content not verified")


@dataclass(frozen=True)
class Leakage:
    """What the leakage check compared, as numbers of images, and its matches as it wrote them (MATCH_KEYS)."""

    train: int
    test: int
    matches: tuple[Mapping[str, Any], ...]

    @property
    def leaked(self) -> dict[str, list[str]]:
        """{test set: its images that training images show}."""
        found: dict[str, list[str]] = {}
        for name, image in dict.fromkeys((match["test_set"], match["test_image"]) for match in self.matches):
            found.setdefault(name, []).append(image)
        return found

    @property
    def sentence(self) -> str:
        """What was compared and what came of it."""
        compared = f"{_count(self.train, 'training image')} compared with {_count(self.test, 'test image')}"
        if not self.matches:
            return f"{compared}: none shows a test image or a part of one."
        shown = sum(map(len, self.leaked.values()))
        return f"{compared}: {_count(shown, 'test image')} shown, whole or in part, by training images."


def read_image_set(manifest: Path) -> ImageSet:
    """The set a dataset manifest describes.

    Raises:
        FileNotFoundError, ValueError: the manifest is missing, or lacks what the report tells of a set.
    """
    entry = read_json(manifest)
    available = entry.get("available", True)
    check_keys(entry, SET_KEYS if available else ("name", "role", "reason"), manifest)
    if not available:
        return ImageSet(entry["name"], entry["role"], licence=entry.get("licence", ""), reason=entry["reason"])
    known = {key: entry[key] for key in SET_KEYS if key != "files"}
    return ImageSet(**known, images=len(entry["files"]), excluded=tuple(entry.get("excluded", ())))


def read_leakage(path: Path) -> Leakage:
    """The leakage check's result.

    Raises:
        FileNotFoundError, ValueError: the file is missing, or lacks what the report tells of a match.
    """
    result = read_json(path)
    check_keys(result, ("train", "test", "matches"), path)
    for match in result["matches"]:
        check_keys(match, MATCH_KEYS, path)
    train, test = (sum(entry["images"] for entry in result[side]) for side in ("train", "test"))
    return Leakage(train, test, tuple(result["matches"]))


def set_labels(sets: Iterable[ImageSet], needed: Sequence[str]) -> dict[str, str]:
    """{set: what captions call it} of the sets that are needed.

    Raises:
        ValueError: one of them has no manifest.
    """
    labels = {each.name: each.label for each in sets}
    missing = [name for name in needed if name not in labels]
    if missing:
        raise ValueError(f"{', '.join(missing)} was benchmarked, but its dataset manifest is not given; give it too")
    return {name: labels[name] for name in needed}


def leakage_remarks(leakage: Leakage) -> list[str]:
    """A line for each test set of which training images show something."""
    return [
        f"{name}: training images show, whole or in part, {', '.join(images)}; its numbers are not of unseen images."
        for name, images in leakage.leaked.items()
    ]


def data_chapter(sets: Sequence[ImageSet], leakage: Leakage) -> Chapter:
    """The sets, and the matches where there are any."""
    columns = ("set", "role", "images", "source", "variant", "verified", "licence")
    texts = tuple(column for column in columns if column != "images")
    sheets = [Sheet("Image sets of the study", columns, tuple(_set_cells(each) for each in sets), texts)]
    if leakage.matches:
        columns = ("training image", "test image", "scale", "rotation (°)", "mirrored", "overlap (%)", "correlation",
                   "inliers")  # fmt: skip
        rows = tuple(_match_cells(match) for match in leakage.matches)
        sheets.append(Sheet("Training images that show test images", columns, rows, ("test image", "mirrored")))
    frame = pd.DataFrame(asdict(each) | {"excluded": ";".join(each.excluded)} for each in sets)
    return Chapter(f"{leakage.sentence} {SETS_TEXT}", tuple(sheets), frame=frame)


def _set_cells(each: ImageSet) -> tuple[Cell, ...]:
    if each.reason:
        absent = Cell(EMPTY, footnote=f"not available: {each.reason}")
        return Cell(each.name), Cell(each.role), absent, absent, absent, absent, Cell(each.licence or EMPTY)
    excluded = f"without {', '.join(each.excluded)} (data.exclude)" if each.excluded else ""
    told = each.source, each.variant or EMPTY, "yes" if each.verified else "no", each.licence
    return Cell(each.name), Cell(each.role), Cell(str(each.images), footnote=excluded), *map(Cell, told)


def _match_cells(match: Mapping[str, Any]) -> tuple[Cell, ...]:
    return (
        Cell(f"{match['train_set']}/{match['train_image']}"),
        Cell(f"{match['test_set']}/{match['test_image']}"),
        Cell(number(match["scale"], 2)),
        Cell(number(match["rotation_degrees"], 1)),
        Cell("yes" if match["mirrored"] else "no"),
        Cell(number(100 * match["overlap"], 0)),
        Cell(number(match["correlation"], 3)),
        Cell(str(match["inliers"])),
    )


def check_keys(entry: Mapping[str, Any], keys: Iterable[str], path: Path) -> None:
    """Pass if `entry`, read of a stage's file, has all `keys`.

    Raises:
        ValueError: it has not.
    """
    missing = [key for key in keys if key not in entry]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}; delete it and make it again")


def _count(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
