"""The registry of image sets (data/datasets.csv): where each comes from and how it is checked.

A set is looked for in a folder given for it, else in the installed packages that carry it, else in a mirror
(`<mirror>/datasets/<location>`). What is found must have the registered content: `sha256` is the SHA-256 of the set's
`sha256sum` listing, its files sorted by name.
"""

import csv
import hashlib
import importlib.util
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from fsr.files import read_json, sha256_of_file, write_atomically, write_json
from fsr.images import list_images

MIRROR_VARIABLE = "FSR_MIRROR"


@dataclass(frozen=True)
class Dataset:
    """One row of the registry."""

    name: str
    role: str  # train or test
    images: int
    source: str  # package or mirror
    location: tuple[str, ...]  # package: files as <package>/<path>; mirror: folders below <mirror>/datasets
    sha256: str
    licence: str
    by_hand: str  # how to get it where neither a mirror nor a package has it


def read_registry(path: Path | str) -> dict[str, Dataset]:
    """The registry as {name: Dataset}.

    Raises:
        ValueError: a column is missing.
    """
    with Path(path).open(newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    columns = {field.name for field in fields(Dataset)}
    if not rows or set(rows[0]) != columns:
        raise ValueError(f"{path} must have the columns {', '.join(sorted(columns))}")
    return {
        row["name"]: Dataset(
            **{**row, "images": int(row["images"]), "location": tuple(row["location"].split(";"))}  # type: ignore[arg-type]
        )
        for row in rows
    }


def lookup(registry: Mapping[str, Dataset], name: str) -> Dataset:
    """The named set.

    Raises:
        ValueError: unknown name; the message lists the known ones.
    """
    if name not in registry:
        raise ValueError(f"dataset {name!r} is not in the registry; choose one of {', '.join(registry)}")
    return registry[name]


def find_files(dataset: Dataset, folder: str | None = None, mirror: str | None = None) -> list[Path]:
    """The set's image files, verified, sorted by name.

    Args:
        folder: where the user keeps this set, if anywhere.
        mirror: root of a mirror; None takes the FSR_MIRROR environment variable.

    Raises:
        FileNotFoundError: it is nowhere; says how to obtain it.
        ValueError: it is there with other content than registered.
    """
    mirror = mirror or os.environ.get(MIRROR_VARIABLE)
    if folder:
        files = list_images(folder)
    elif dataset.source == "package":
        files = [_package_file(dataset, item) for item in dataset.location]
    elif mirror:
        files = [file for item in dataset.location for file in list_images(Path(mirror, "datasets", item))]
    else:
        raise FileNotFoundError(
            f"dataset {dataset.name} is not at hand: set {MIRROR_VARIABLE} (or data.mirror) to a mirror that holds it, "
            f"or data.folders.{dataset.name} to a folder. {dataset.by_hand}"
        )
    files = sorted(files, key=lambda file: file.name)
    found = listing_sha256(files)
    if found != dataset.sha256:
        raise ValueError(
            f"dataset {dataset.name} in {files[0].parent} does not have the registered content ({len(files)} files, "
            f"SHA-256 {found[:12]}..., expected {dataset.images} files, {dataset.sha256[:12]}...); fetch it again"
        )
    return files


def listing_sha256(files: list[Path]) -> str:
    """SHA-256 of the lines `sha256sum` would print for the files, names without folders."""
    lines = "".join(f"{sha256_of_file(file)}  {file.name}\n" for file in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def _package_file(dataset: Dataset, item: str) -> Path:
    package, _, inside = item.partition("/")
    spec = importlib.util.find_spec(package)
    file = Path(spec.submodule_search_locations[0], inside) if spec and spec.submodule_search_locations else None
    if file is None or not file.is_file():
        raise FileNotFoundError(f"dataset {dataset.name} needs {item}, which is not installed. {dataset.by_hand}")
    return file


def materialise(dataset: Dataset, manifest: Path | str, folder: str | None = None, mirror: str | None = None) -> None:
    """Copy the verified set beside `manifest` and write the manifest last, so that its presence means a whole set."""
    manifest = Path(manifest)
    files = find_files(dataset, folder, mirror)
    for file in files:
        target = manifest.parent / file.name
        if not target.is_file() or sha256_of_file(target) != sha256_of_file(file):
            write_atomically(target, lambda temporary, file=file: shutil.copyfile(file, temporary))
    write_json(
        manifest,
        {
            "name": dataset.name,
            "role": dataset.role,
            "source": dataset.source,
            "licence": dataset.licence,
            "sha256": dataset.sha256,
            "files": [{"name": file.name, "sha256": sha256_of_file(file)} for file in files],
        },
    )


def manifest_files(manifest: Path | str) -> list[Path]:
    """The image files a dataset manifest names.

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
