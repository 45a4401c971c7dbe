"""The search for training images that show test images, whole or in part, before anything is trained on them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
import yaml
from PIL import Image, ImageDraw, ImageFont

from fsr.files import read_json, write_atomically, write_json
from fsr.images import read_image
from fsr.matching import METHOD, Alignment, Gallery, Sketch, align, reduced, sketch
from fsr.progress import progress_bar

Sets = Mapping[str, Sequence[Path]]

MOST_DRAWN = 12  # pairs in the picture
PANEL, GAP, LINE = 320, 12, 22  # sides of the picture's parts in pixels
OUTLINE = (213, 94, 0)


@dataclass(frozen=True)
class Match:
    """A training image that shows a test image; images are named by their files without suffix."""

    train_set: str
    train_image: str
    test_set: str
    test_image: str
    scale: float  # test pixels per training pixel
    rotation_degrees: float  # clockwise, from the training image to the (mirrored) test image
    mirrored: bool
    overlap: float  # share of the test image's area that the training image shows
    correlation: float  # of the pixels both show, aligned; 1 is the same up to brightness and contrast
    inliers: int  # local features that agree; 0 where the images are too soft to have any


@dataclass(frozen=True)
class _Find:
    """A match and what it takes to draw it."""

    match: Match
    train: Path
    test: Path
    alignment: Alignment


def find_matches(train: Sets, test: Sets, *, threads: int) -> list[Match]:
    """Pairs of which the training image shows the test image, sorted by name; a set may be empty.

    Found are crops, rescaled (0.25x to 4x), recompressed, turned and mirrored copies, of the whole or of a part. Not
    found are parts without local structure, such as a crop of plain sky, and parts below a tenth of the smaller image.

    Args:
        train, test: {set: image files}.

    Raises:
        FileNotFoundError, ValueError: an image is missing or damaged.
    """
    return [find.match for find in _search(train, test, threads)]


def search_leakage(train: Sets, test: Sets, *, report: Path, picture: Path, threads: int) -> None:
    """Write what `find_matches` finds to `report` (JSON) and `picture` (PNG: at most 12 pairs).

    Raises:
        FileNotFoundError, ValueError: an image is missing or damaged.
    """
    finds = _search(train, test, threads)
    result = {"method": METHOD, "train": _counts(train), "test": _counts(test)}
    write_json(report, result | {"matches": [asdict(find.match) for find in finds]})
    write_atomically(picture, _drawn(finds).save)


def accept_leakage(report: Path, accepted: Path, action: Literal["stop", "report"]) -> None:
    """Write `accepted` (JSON: how many matches), if training may go on with what `report` says.

    Raises:
        ValueError: a training image shows a test image and `action` is "stop"; names both and what to do.
    """
    matches = [Match(**match) for match in read_json(report)["matches"]]
    if matches and action == "stop":
        raise ValueError(_refusal(matches, report))
    write_json(accepted, {"action": action, "matches": len(matches)})


def _search(train: Sets, test: Sets, threads: int) -> list[_Find]:
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    tests, trains = _by_name(test), _by_name(train)
    if not tests or not trains:
        return []
    with progress_bar("leakage", len(tests) + len(trains)) as advance:
        sketches = []
        for set_name, file in tests:
            sketches.append(sketch(read_image(file)))
            advance(f"{set_name}/{file.stem}")
        gallery, finds = Gallery(sketches), []
        for set_name, file in trains:
            seen = sketch(read_image(file))
            for index, (alignment, mirrored) in _shown(seen, gallery).items():
                test_set, test_file = tests[index]
                names = (set_name, file.stem, test_set, test_file.stem)
                match = _match(names, seen, gallery.sketches[index], alignment, mirrored)
                finds.append(_Find(match, file, test_file, alignment))
            advance(f"{set_name}/{file.stem}")
    return finds


def _counts(sets: Sets) -> list[dict[str, str | int]]:
    return [{"set": name, "images": len(files)} for name, files in sets.items()]


def _by_name(sets: Sets) -> list[tuple[str, Path]]:
    files = [(name, file) for name, files in sets.items() for file in files]
    return sorted(files, key=lambda each: (each[0], each[1].stem))


def _shown(train: Sketch, gallery: Gallery) -> dict[int, tuple[Alignment, bool]]:
    """{index of a test image: (how `train` shows it, whether mirrored)}, the better of the two where it does both."""
    found: dict[int, tuple[Alignment, bool]] = {}
    for index, mirrored in gallery.candidates(train):
        test = gallery.sketches[index]
        alignment = align(train, test.mirrored() if mirrored else test)
        if alignment and (index not in found or alignment.correlation > found[index][0].correlation):
            found[index] = alignment, mirrored
    return found


def _match(names: tuple[str, str, str, str], train: Sketch, test: Sketch, found: Alignment, mirrored: bool) -> Match:
    scale = round(found.scale * test.reduction / train.reduction, 4)
    overlap, correlation = round(found.overlap, 4), round(found.correlation, 4)
    return Match(*names, scale, round(found.rotation, 2), mirrored, overlap, correlation, found.inliers)


def _words(match: Match) -> str:
    how = f"{'mirrored, ' if match.mirrored else ''}scale {match.scale:.2f}, correlation {match.correlation:.2f}"
    train, test = f"{match.train_set}/{match.train_image}", f"{match.test_set}/{match.test_image}"
    part = "" if match.overlap > 0.99 else f"{match.overlap:.0%} of "
    return f"training image {train} shows {part}test image {test} ({how})"


def _refusal(matches: list[Match], report: Path) -> str:
    exclude: dict[str, list[str]] = {}
    for match in matches:
        images = exclude.setdefault(match.train_set, [])
        images += [match.train_image] if match.train_image not in images else []
    more = f" and {len(matches) - 1} more" if len(matches) > 1 else ""
    listed = yaml.safe_dump(exclude, default_flow_style=True, width=float("inf")).strip()
    return (
        f"{_words(matches[0])}{more}; leave out what leaks with data.exclude: {listed}, or set data.leakage to report "
        f"to go on and have the tables say so; see {report}"
    )


def _drawn(finds: Sequence[_Find]) -> Image.Image:
    """A heading, and three panels side by side under the description of each of the first MOST_DRAWN pairs."""
    shown = finds[:MOST_DRAWN]
    heading = "No training image shows a test image."
    if finds:
        below = f"{len(finds)} in all, {len(shown)} below"
        heading = f"Matches ({below}): training image with the common part outlined, test image, the one over the other"
    texts = [heading, *(_words(find.match) for find in shown)]
    font = ImageFont.load_default(size=14)
    width = max([3 * PANEL + 4 * GAP] + [2 * GAP + int(font.getlength(text)) for text in texts])
    row = LINE + PANEL + GAP
    canvas = Image.new("RGB", (width, 2 * GAP + LINE + row * len(shown)), "white")
    draw = ImageDraw.Draw(canvas)
    draw.text((GAP, GAP), heading, fill="black", font=font)
    for top, find, text in zip(range(2 * GAP + LINE, canvas.height, row), shown, texts[1:], strict=True):
        draw.text((GAP, top), text, fill="black", font=font)
        for left, pixels in zip(range(GAP, width, PANEL + GAP), _panels(find), strict=False):
            panel = Image.fromarray(pixels)
            panel.thumbnail((PANEL, PANEL))
            canvas.paste(panel, (left, top + LINE))
    return canvas


def _panels(find: _Find) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(H, W, 3) uint8: training image with the common part outlined, test image, the one laid over the other."""
    train, test = reduced(read_image(find.train)), reduced(read_image(find.test))
    affine = find.alignment.affine
    laid = cv2.warpAffine(train, affine, test.shape[1::-1], flags=cv2.INTER_LINEAR, borderValue=(255, 255, 255))
    corners = cv2.transform(find.alignment.region[None], cv2.invertAffineTransform(affine))
    width = max(2, max(train.shape) // 160)
    outlined = cv2.polylines(train, [np.rint(corners).astype(np.int32)], True, OUTLINE, width)
    return outlined, test, laid[:, ::-1] if find.match.mirrored else laid
