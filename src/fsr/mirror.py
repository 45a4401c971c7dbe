"""A local mirror of the public sets and weights: datasets/<name>/..., vae/..., and MANIFEST.sha256 over all files."""

import os
import re
from pathlib import Path

from fsr.files import sha256_of_file

MIRROR_VARIABLE = "FSR_MIRROR"
MANIFEST = "MANIFEST.sha256"
LISTED = re.compile(r"([0-9a-fA-F]{64}) [ *](?:\./)?(.+)")  # a line of sha256sum, of a text or (*) a binary file


def mirror_root(setting: str | None = None) -> Path | None:
    """The mirror that `setting` (data.mirror) or the environment variable FSR_MIRROR names; None where neither does.

    Raises:
        FileNotFoundError: it is named and not a folder.
    """
    named = setting or os.environ.get(MIRROR_VARIABLE)
    if not named:
        return None
    root = Path(named)
    if not root.is_dir():
        raise FileNotFoundError(f"the mirror {named} is not a folder; correct data.mirror or {MIRROR_VARIABLE}")
    return root


def check_against_manifest(root: Path, files: list[Path]) -> None:
    """Pass if the mirror's MANIFEST.sha256 lists `files` with their hashes, and nothing is missing from their folders.

    Raises:
        FileNotFoundError: there is no manifest, or a listed file is missing.
        ValueError: a file is not listed, or has other content.
    """
    listed = _listing(root / MANIFEST)
    found = {file.relative_to(root).as_posix(): file for file in files}
    for name, file in found.items():
        if name not in listed:
            raise ValueError(f"{file} is not in the mirror's {MANIFEST}; remove it, or list it with sha256sum")
        if sha256_of_file(file) != listed[name]:
            raise ValueError(f"{file} does not match the mirror's {MANIFEST}; copy it again")
    folders = {Path(name).parent for name in found}
    for name in listed:
        if Path(name).parent in folders and not (root / name).is_file():
            raise FileNotFoundError(f"{root / name} is in the mirror's {MANIFEST} and missing; copy it again")


def _listing(manifest: Path) -> dict[str, str]:
    """{path below the root: SHA-256} of what `sha256sum` wrote.

    Raises:
        FileNotFoundError, ValueError: no such file, or a line that is not of this form.
    """
    if not manifest.is_file():
        raise FileNotFoundError(
            f"the mirror has no {manifest}; make it in that folder with: "
            f"find datasets vae -type f -exec sha256sum {{}} + > {MANIFEST}"
        )
    listed = {}
    for line in os.fsdecode(manifest.read_bytes()).splitlines():
        match = LISTED.fullmatch(line)
        if match is None:
            raise ValueError(f"{manifest} has a line that sha256sum did not write: {line[:60]!r}; make it again")
        listed[match[2]] = match[1].lower()
    return listed
