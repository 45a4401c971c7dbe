"""Files that are either whole or absent: atomic writes, content hashes, JSON manifests."""

import csv
import errno
import hashlib
import io
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def write_atomically(path: Path | str, write: Callable[[Path], None]) -> Path:
    """Call `write` on a temporary sibling of `path`, then rename it into place.

    A reader (or an interrupted run) sees the old file or the new one, never half of one.

    Raises:
        OSError: the folder cannot be written or is full; the message names the remedy and the old file is intact.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    except OSError as error:
        raise explained(error, path) from error
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        raise explained(error, path) from error
    finally:
        temporary.unlink(missing_ok=True)
    return path


def check_writable(folder: Path | str) -> None:
    """Pass if files can be made below `folder`, which need not exist yet.

    Raises:
        OSError: its nearest existing folder cannot be written; says what to do.
    """
    folder = Path(folder).absolute()
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not existing.is_dir():
        raise explained(OSError(errno.ENOTDIR, ""), existing)
    if not os.access(existing, os.W_OK | os.X_OK):
        raise explained(OSError(errno.EACCES, ""), folder)


def write_text(path: Path | str, text: str) -> Path:
    """Write UTF-8 text atomically."""
    return write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path | str, value: Any) -> Path:
    """Write `value` as indented JSON, atomically, keys in the order given."""
    return write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_csv(path: Path | str, rows: list[dict[str, Any]], columns: Sequence[str] = ()) -> Path:
    """Write rows as CSV, atomically; `columns` first, others as they appear, empty where a row has none."""
    columns = list(dict.fromkeys([*columns, *(name for row in rows for name in row)]))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return write_text(path, buffer.getvalue())


def read_json(path: Path | str) -> Any:
    """Read a JSON file.

    Raises:
        FileNotFoundError, ValueError: with the path, when it is missing or not JSON.
    """
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not valid JSON ({error}); delete it and make it again") from error


def sha256_of_file(path: Path | str) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def sha256_of(*parts: Any) -> str:
    """Hexadecimal SHA-256 of JSON-serialisable values: the name of whatever they define."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def explained(error: OSError, path: Path | str) -> OSError:
    """The error of writing `path`, with its remedy where there is one."""
    disk_full = "the disk is full; free some space and run again (nothing that stood there was lost)"
    remedies = {
        errno.EACCES: "the folder is not writable; change its permissions or work in another folder",
        errno.EPERM: "the folder is not writable; change its permissions or work in another folder",
        errno.EROFS: "the file system is read-only; work in another folder",
        errno.ENOSPC: disk_full,
        errno.EDQUOT: disk_full,
        errno.EFBIG: "the file would be larger than is allowed here (ulimit -f); raise the limit and run again",
        errno.ENOTDIR: "a file stands where a folder is needed; move it away",
        errno.EEXIST: "a file stands where a folder is needed; move it away",
    }
    remedy = remedies.get(error.errno)
    return OSError(error.errno, f"cannot write {path}: {remedy}") if remedy else error


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
