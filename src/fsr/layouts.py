"""Finding the images of a set in a folder, in the layouts that super-resolution projects use.

Recognised below the folder, or below `<name>` in it (or an alias such as BSD100), whatever their case: `original`,
`HR`, `<name>_HR`, `GTmod12` (BasicSR), `image_SRF_2` and `image_SRF_4` (SelfExSR, of whose files only `*_HR.png` are
the set), and the folder itself. A set of several parts (BSDS500: train and test) is found wherever they lie side by
side. Hidden files are no images of a set.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})  # of image files
LAYOUTS = ("original", "HR", "{name}_HR", "GTmod12", "image_SRF_2", "image_SRF_4")
PARTS_DEPTH = 5  # BSR/BSDS500/data/images/train
PAIRED = re.compile(r"^(?P<image>.+?)(?:_SRF_\d+)?_HR$")  # img_001_SRF_2_HR.png lies beside img_001_SRF_2_LR.png


@dataclass(frozen=True)
class Layout:
    """Where a set was found: the layout's name, and {image name: file}, by name."""

    variant: str
    files: dict[str, Path]


def find_layout(
    root: Path, names: tuple[str, ...], parts: tuple[str, ...] = (), *, shared: bool = False
) -> Layout | None:
    """The set called one of `names` below `root`; None where no known layout of it is there.

    Args:
        parts: folders that together make the set; empty for a set in one folder.
        shared: `root` holds other sets too, so that only folders named as this one count.

    Raises:
        ValueError: two images of the set have the same name.
    """
    for base in _bases(root, names, shared):
        for variant, folders in _candidates(base, names, parts):
            images = [file for folder in folders for file in _images(folder)]
            if images:
                return Layout(variant, _by_name(images))
    return None


def _bases(root: Path, names: tuple[str, ...], shared: bool) -> Iterator[Path]:
    """Folders named as the set is, then the root itself, where it is not shared."""
    wanted = {name.lower() for name in names}
    if root.is_dir():
        yield from sorted(child for child in root.iterdir() if child.is_dir() and child.name.lower() in wanted)
    if root.is_dir() and not shared:
        yield root


def _candidates(base: Path, names: tuple[str, ...], parts: tuple[str, ...]) -> Iterator[tuple[str, list[Path]]]:
    """(layout's name, folders) that exist below `base`, the most complete layout first."""
    if parts:
        for folder in chain([base], _folders(base, PARTS_DEPTH)):
            if all((folder / part).is_dir() for part in parts):
                yield "+".join(parts), [folder / part for part in parts]
        return
    below = {child.name.lower(): child for child in sorted(base.iterdir(), reverse=True) if child.is_dir()}
    for layout in dict.fromkeys(layout.format(name=name).lower() for layout in LAYOUTS for name in names):
        if layout in below:
            yield below[layout].name, [below[layout]]
    yield "flat", [base]


def _folders(base: Path, depth: int) -> Iterator[Path]:
    """Folders below `base`, level by level."""
    level = [base]
    for _ in range(depth):
        level = sorted(child for folder in level for child in folder.iterdir() if child.is_dir())
        yield from level


def _images(folder: Path) -> list[Path]:
    """Image files in a folder; where some are named as the high-resolution half of pairs, those."""
    files = (file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
    images = sorted(file for file in files if file.suffix.lower() in SUFFIXES)
    paired = [file for file in images if PAIRED.match(file.stem)]
    return paired or images


def _by_name(files: list[Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for file in sorted(files, key=lambda file: file.name):
        match = PAIRED.match(file.stem)
        name = match["image"] if match else file.stem
        if name in found:
            raise ValueError(f"{file} and {found[name]} are both image {name} of one set; remove one of them")
        found[name] = file
    return found
