"""The registry of image sets (data/datasets.csv): where each comes from and how it is checked.

Whatever is found of a set (`fsr.sources`) must have the registered number of images and, where it is registered, the
registered content (`content_sha256`). A manifest beside its files says what was found.
"""

import csv
import hashlib
import importlib.util
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

from PIL import Image, ImageOps

from fsr.files import read_json, sha256_of_file, write_atomically, write_json
from fsr.layouts import SUFFIXES, Layout, find_layout
from fsr.mirror import check_against_manifest, mirror_root

CONTENT_MULTIPLE = 12  # a copy cropped to multiples of 2, 3, 4, 6 or 12 pixels (GTmod12) has the same content


@dataclass(frozen=True)
class Dataset:
    """One row of the registry.

    Attributes:
        aliases: what else its folder may be called.
        images, pixels: how many there are, and of how many pixels in all (0: not known).
        source, location: where to fetch it. package: files as <package>/<path>; hub: <repository>:<file>; http: an
            address; generated: nothing; manual: nothing, for it may not be fetched.
        bytes, sha256: of the archive at the source (0 and empty: not known).
        parts: folders that together are the set. leave_out: images that are there and not part of it.
        content: its `content_sha256`; empty where it is not known.
        access: public where its licence lets copies be given to others; what is made of private images stays with them.
        by_hand: how to get it where nothing above has it.
    """

    name: str
    aliases: tuple[str, ...]
    role: Literal["train", "test", "reference"]
    images: int
    pixels: int
    source: Literal["package", "hub", "http", "generated", "manual"]
    location: tuple[str, ...]
    bytes: int
    sha256: str
    parts: tuple[str, ...]
    leave_out: tuple[str, ...]
    content: str
    licence: str
    access: Literal["public", "private"]
    by_hand: str


@dataclass(frozen=True)
class Found:
    """A set at hand.

    Attributes:
        files: {image name: file}.
        source: whence: package, folder, mirror, download or generated.
        variant: the layout it was found in.
        archive: what a download was unpacked from.
    """

    files: dict[str, Path]
    source: str
    variant: str = ""
    archive: Path | None = None


@dataclass(frozen=True)
class Verdict:
    """What checking a set showed: it has registered content, and its images are smaller than the registered ones."""

    verified: bool
    cropped: bool


def read_registry(path: Path | str) -> dict[str, Dataset]:
    """The registry as {name: Dataset}.

    Raises:
        ValueError: a column is missing, a set is there twice, or a cell is missing or of another kind.
    """
    with Path(path).open(newline="", encoding="utf-8") as handle:
        reader = csv.DictReader(handle)
        rows = list(reader)
    kinds = {field.name: field.type for field in fields(Dataset)}
    if not rows or set(reader.fieldnames) != set(kinds):
        raise ValueError(f"{path} must have the columns {', '.join(kinds)} and a row per set; add what is missing")
    registry: dict[str, Dataset] = {}
    for row in rows:
        name = row["name"]
        try:
            if name in registry:
                raise ValueError("it is there twice")
            registry[name] = _dataset(row, kinds)
        except ValueError as error:
            raise ValueError(f"{path}, set {name!r}: {error}; correct the row") from None
    return registry


def _dataset(row: dict[str, str], kinds: dict[str, Any]) -> Dataset:
    if None in row or None in row.values():
        raise ValueError("it has not as many cells as there are columns")
    dataset = Dataset(**{column: _cell(column, kind, row[column]) for column, kind in kinds.items()})
    if dataset.source in ("hub", "http") and len(dataset.location) != 1:
        raise ValueError(f"source {dataset.source} needs one location, not {len(dataset.location)}")
    return dataset


def _cell(column: str, kind: Any, text: str) -> Any:
    if kind is int:
        if text and not text.isdecimal():
            raise ValueError(f"{column} {text!r} is not a number")
        return int(text or 0)
    if kind == tuple[str, ...]:
        return tuple(filter(None, text.split(";")))
    if get_args(kind) and text not in get_args(kind):
        raise ValueError(f"{column} {text!r} is none of {', '.join(get_args(kind))}")
    return text


def lookup(registry: Mapping[str, Dataset], name: str, folders: Mapping[str, str] | None = None) -> Dataset:
    """The named set: one of the registry, or your own, of which `folders` (data.folders) alone knows.

    Raises:
        ValueError: unknown name; the message lists the known ones.
    """
    if name in registry:
        return registry[name]
    if name not in (folders or {}):
        known = f"choose one of {', '.join(registry)}, or name its folder in data.folders"
        raise ValueError(f"dataset {name!r} is not in the registry; {known}")
    of_yours = ("manual", (), 0, "", (), (), "", "not known", "private", "Put its images there.")
    return Dataset(name, (), "test", 0, 0, *of_yours)


def find(dataset: Dataset, folder: str | None = None, mirror: str | None = None) -> Found | None:
    """The set on this machine; None where it would have to be fetched. A mirror's copy is checked against its manifest.

    Args:
        folder: where the user keeps this set, if anywhere.
        mirror: root of a mirror; None takes the environment variable FSR_MIRROR.

    Raises:
        FileNotFoundError: `folder` does not hold it, the mirror is damaged, or a package is not installed.
        ValueError: the mirror's copy is not the one in its manifest, or two images have one name.
    """
    found = locate(dataset, folder, mirror)
    if found is not None and found.source == "mirror":
        check_against_manifest(mirror_root(mirror), list(found.files.values()))
    return found


def locate(dataset: Dataset, folder: str | None = None, mirror: str | None = None) -> Found | None:
    """As `find`, but nothing is read."""
    names = (dataset.name, *dataset.aliases)
    if folder:
        layout = find_layout(Path(folder), names, dataset.parts)
        if layout is None:
            raise FileNotFoundError(f"no images of {dataset.name} in {folder} (data.folders). {dataset.by_hand}")
        return found_in(dataset, layout, "folder")
    if dataset.source == "package":
        files = (_package_file(dataset, item) for item in dataset.location)
        return Found({file.stem: file for file in files}, "package")
    root = mirror_root(mirror)
    layout = find_layout(root / "datasets", names, dataset.parts, shared=True) if root else None
    return None if layout is None else found_in(dataset, layout, "mirror")


def found_in(dataset: Dataset, layout: Layout, source: str) -> Found:
    """The set as a layout holds it, without what is there and not part of it."""
    files = {name: file for name, file in layout.files.items() if name not in dataset.leave_out}
    return Found(files, source, layout.variant)


def _package_file(dataset: Dataset, item: str) -> Path:
    package, _, inside = item.partition("/")
    spec = importlib.util.find_spec(package)
    file = Path(spec.submodule_search_locations[0], inside) if spec and spec.submodule_search_locations else None
    if file is None or not file.is_file():
        raise FileNotFoundError(f"dataset {dataset.name} needs {item}, which is not installed. {dataset.by_hand}")
    return file


def verify(dataset: Dataset, found: Found) -> Verdict:
    """Check a set's images against the registry.

    Raises:
        ValueError: another number of images, or others than registered, or one that cannot be read.
    """
    files = list(found.files.values())
    place = found.archive or (os.path.commonpath([file.parent for file in files]) if files else "its folder")
    again = "delete that file and run again" if found.archive else "fetch it again"
    remedy = f"{again}, or give it a row of its own in data/datasets.csv"
    if dataset.images and len(files) != dataset.images:
        raise ValueError(f"dataset {dataset.name} in {place} has {len(files)} images, not {dataset.images}; {remedy}")
    digest, pixels = content_sha256(files)
    if dataset.content and digest != dataset.content:
        raise ValueError(
            f"dataset {dataset.name} in {place} does not have the registered content ({digest[:12]}..., expected "
            f"{dataset.content[:12]}...); {remedy}"
        )
    return Verdict(bool(dataset.content), pixels < dataset.pixels)


def content_sha256(files: list[Path]) -> tuple[str, int]:
    """SHA-256 of what the images show, whatever their names, order and encoding; and how many pixels they have.

    Of each image the top left corner counts whose sides are multiples of 12, so that a copy cropped to such multiples
    has the same hash.

    Raises:
        ValueError: a file is not an image that can be read.
    """
    digests, pixels = [], 0
    for file in files:
        try:
            with Image.open(file) as opened:
                image = ImageOps.exif_transpose(opened).convert("RGB")
        except (OSError, SyntaxError) as error:
            raise ValueError(f"{file} cannot be read as an image ({error}); fetch it again or remove it") from error
        corner = (0, 0, *(side // CONTENT_MULTIPLE * CONTENT_MULTIPLE for side in image.size))
        digests.append(hashlib.sha256(image.crop(corner).tobytes()).hexdigest())
        pixels += image.width * image.height
    return hashlib.sha256("".join(sorted(digests)).encode()).hexdigest(), pixels


def materialise(dataset: Dataset, found: Found, manifest: Path | str, exclude: tuple[str, ...] = ()) -> None:
    """Copy the checked set beside `manifest` and write the manifest last, so that its presence means a whole set.

    Images there that are not of the set any more are removed, unless the set was found in that very folder.

    Raises:
        ValueError: it is not the registered set, or `exclude` names an image that is not in it.
    """
    manifest, verdict = Path(manifest), verify(dataset, found)
    for name in exclude:
        if name not in found.files:
            raise ValueError(f"data.exclude names {name!r}, which is no image of {dataset.name}; correct it")
    entries = []
    for name, file in sorted(found.files.items()):
        if name in exclude:
            continue
        target, digest = manifest.parent / f"{name}{file.suffix.lower()}", sha256_of_file(file)
        if not target.is_file() or sha256_of_file(target) != digest:
            write_atomically(target, partial(shutil.copyfile, file))
        _copy_prompt(file, manifest.parent)
        entries.append({"name": target.name, "sha256": digest})
    if not any(file.parent.samefile(manifest.parent) for file in found.files.values()):
        kept = {entry["name"] for entry in entries}
        for file in manifest.parent.iterdir():
            if file.suffix.lower() in SUFFIXES and file.name not in kept:
                file.unlink()
    write_json(
        manifest,
        _description(dataset)
        | {"available": True, "reason": "", "source": found.source, "variant": found.variant}
        | {"verified": verdict.verified, "cropped": verdict.cropped, "excluded": sorted(exclude), "files": entries},
    )


def _copy_prompt(image: Path, folder: Path) -> None:
    """Take along the prompt an image was generated from, where it lies beside it: prompts/<image>.txt."""
    prompt = image.parent / "prompts" / f"{image.stem}.txt"
    if prompt.is_file() and not image.parent.samefile(folder):
        write_atomically(folder / "prompts" / prompt.name, partial(shutil.copyfile, prompt))


def note_absence(dataset: Dataset, manifest: Path | str, reason: str) -> None:
    """Write a manifest that says the study goes on without this set, and why."""
    state = {"available": False, "reason": reason, "source": "", "variant": "", "verified": False, "cropped": False}
    write_json(manifest, _description(dataset) | state | {"excluded": [], "files": []})


def _description(dataset: Dataset) -> dict[str, Any]:
    return {key: getattr(dataset, key) for key in ("name", "role", "licence", "access", "content")}


def manifest_files(manifest: Path | str) -> list[Path]:
    """The image files a dataset manifest names; none, where the study goes on without the set.

    Raises:
        FileNotFoundError: a file the manifest names is gone.
    """
    manifest = Path(manifest)
    files = [manifest.parent / entry["name"] for entry in read_json(manifest)["files"]]
    for file in files:
        if not file.is_file():
            raise FileNotFoundError(
                f"image {file} is missing though {manifest} names it; delete the manifest and run again"
            )
    return files
