"""Which images a command names, and where their larger ones go."""

import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from fsr.files import check_writable
from fsr.formats import FORMATS
from fsr.images import list_images
from fsr.layouts import SUFFIXES

KEPT = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff"})  # suffixes of what is written as it was read
WILDCARDS = frozenset("*?[")


@dataclass(frozen=True)
class Job:
    """A file and where its larger one goes; of a file of latents, also the `tensor`, and which of its batch."""

    source: Path
    output: Path
    tensor: str = ""
    index: int | None = None


def plan_jobs(inputs: Sequence[Path], folder: Path, kind: str = "keep", recursive: bool = False) -> list[Job]:
    """A job for each image, in the order given: `folder`/<its name>, with the suffix of `kind` where it is not kept.

    Of a folder, every image in it, and with `recursive` of those below it, into folders of their names; likewise of a
    pattern (* ? [ ] **), below its part without wildcards. Hidden files and what lies in `folder` are left out there.
    An image that is named twice is made once.

    Raises:
        FileNotFoundError: a folder holds no image, or no image fits a pattern.
        ValueError: two images would be written to one file, one over an image that is to be read, or `folder` is
            named like an image.
        OSError: `folder` cannot be written, or a folder of images cannot be read.
    """
    files: dict[Path, tuple[Path, Path]] = {}
    for given in inputs:
        for file, place in _found(given, folder, recursive):
            files.setdefault(file.resolve(), (file, place))
    identities = {_identity(file) for file in files if file.exists()}
    taken: dict[Path, Path] = {}
    for source, place in files.values():
        output = folder / place.with_suffix(_suffix(source, kind))
        if output in taken:
            raise ValueError(
                f"{taken[output]} and {source} would both be written to {output}; rename one, or write them to "
                "different folders"
            )
        if output.exists() and _identity(output) in identities:
            raise ValueError(f"{output} is itself to be read and would be written over; choose another folder")
        taken[output] = source
    check_folder(folder)
    return [Job(source, output) for output, source in taken.items()]


def check_folder(folder: Path) -> None:
    """Pass if results can be put into `folder`, which need not exist yet.

    Raises:
        ValueError: it is named like an image. OSError: it cannot be written.
    """
    if folder.suffix.lower() in SUFFIXES and not folder.is_dir():
        raise ValueError(
            f"{folder} is named like an image, and results go into a folder, each under its name; give one"
        )
    check_writable(folder)


def _found(given: Path, folder: Path, recursive: bool) -> Iterator[tuple[Path, Path]]:
    """Each image that `given` means, and its place below the output folder."""
    deep = recursive
    if given.is_dir():
        _check_readable(given)
        root, listed = given, given.rglob("*") if recursive else list_images(given)
        missing = f"no images below {given}"
    elif WILDCARDS & set(str(given)) and not given.exists():
        root = Path(*takewhile(lambda part: not WILDCARDS & set(part), given.parts))
        pattern, deep = given.relative_to(root), "**" in given.parts
        listed = root.glob(str(pattern / "*" if pattern.name == "**" else pattern))
        missing = f"no images fit {given}"
    else:
        yield given, Path(given.name)
        return
    images = sorted(_images(listed, root, folder, deep))
    if not images:
        raise FileNotFoundError(f"{missing}; expected files ending in {', '.join(sorted(SUFFIXES))}")
    yield from ((file, file.relative_to(root)) for file in images)


def _check_readable(folder: Path) -> None:
    if not os.access(folder, os.R_OK | os.X_OK):
        raise PermissionError(
            errno.EACCES, f"the folder {folder} cannot be read; change its permissions, or leave it out"
        )


def _images(listed: Iterable[Path], root: Path, folder: Path, deep: bool) -> Iterator[Path]:
    output = folder.resolve()
    for file in listed:
        if file.is_dir():
            if deep:
                _check_readable(file)
            continue
        hidden = any(part.startswith(".") for part in file.relative_to(root).parts)
        if hidden or file.suffix.lower() not in SUFFIXES:
            continue
        if output == root.resolve() or output not in file.resolve().parents:
            yield file


def _suffix(source: Path, kind: str) -> str:
    if kind != "keep":
        return FORMATS[kind]
    return source.suffix if source.suffix.lower() in KEPT else ".png"


def _identity(file: Path) -> tuple[int, int]:
    """What a file is on its disk, however it is named."""
    status = file.stat()
    return status.st_dev, status.st_ino
