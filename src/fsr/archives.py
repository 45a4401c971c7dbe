"""Images out of archives that nobody vouches for: zip, tar, tar.gz, tgz."""

import errno
import lzma
import re
import shutil
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Literal

from fsr.files import write_atomically
from fsr.layouts import SUFFIXES

CHUNK = 1 << 20  # bytes
DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError)


@dataclass(frozen=True)
class _Member:
    name: str
    kind: Literal["file", "folder", "other"]
    open: Callable[[], IO[bytes]]


def unpack_images(archive: Path | str, folder: Path | str, *, limit_bytes: int) -> list[Path]:
    """The images in `archive`, written below `folder` under their relative paths and sorted by them.

    Other files, hidden ones and macOS' own (`__MACOSX/`, `._x.png`) are left out. `folder` is made last: it is there
    whole, or not at all.

    Args:
        folder: must not exist, or be empty.
        limit_bytes: the most that may be written, counted as it comes out, whatever the archive declares.

    Raises:
        FileNotFoundError: no such archive.
        FileExistsError: `folder` holds something.
        OSError: `folder` cannot be written, or the disk is full.
        ValueError: it is damaged, encrypted, of another kind, without images, or too large; or a member is a link or
            device, would leave the folder, or would fall on another one's path.
    """
    archive, folder = Path(archive), Path(folder)
    if not archive.is_file():
        raise FileNotFoundError(f"archive {archive} is missing; fetch it again")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} is in the way of unpacking {archive.name}; move it away")
    staging = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(staging, ignore_errors=True)  # what a killed run left
    try:
        written = _unpack(archive, staging, limit_bytes)
        staging.replace(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return sorted(folder / path for path in written)


def _unpack(archive: Path, staging: Path, limit_bytes: int) -> list[PurePosixPath]:
    """Paths below `staging` of the images written there."""
    paths = _Paths()
    left = limit_bytes
    try:
        for member in _members(archive):
            path = _relative_path(member, archive)
            if member.kind == "file" and _is_image(path):
                paths.claim(path, archive)
                left -= _write(member, staging / path, left, archive, limit_bytes)
    except NotImplementedError as error:
        raise ValueError(f"{archive} cannot be unpacked ({error}); pack it again with deflate") from error
    except (*DAMAGE, OSError) as error:
        if isinstance(error, OSError) and not _is_damage(error):
            raise
        reason = str(error) or "it ends early"
        raise ValueError(
            f"{archive} is damaged, truncated, or neither zip nor tar ({reason}); delete it and fetch it again"
        ) from error
    if not paths.files:
        raise ValueError(f"{archive} holds no image ({', '.join(sorted(SUFFIXES))}); check that it is the right one")
    return paths.files


def _is_damage(error: OSError) -> bool:
    """Whether reading failed on what the archive says: bad gzip and bzip2 data, or a place before its start."""
    return error.filename is None and error.errno in {None, errno.EINVAL}


def _write(member: _Member, path: Path, left: int, archive: Path, limit_bytes: int) -> int:
    """Bytes written to `path`, at most `left`."""

    def copy(temporary: Path) -> None:
        written = 0
        with member.open() as source, temporary.open("wb") as target:
            while chunk := source.read(CHUNK):
                written += len(chunk)
                if written > left:
                    raise ValueError(
                        f"{archive} unpacks to more than {limit_bytes} bytes; raise the limit if you trust it, else "
                        "delete it"
                    )
                target.write(chunk)

    return write_atomically(path, copy).stat().st_size


def _is_image(path: PurePosixPath) -> bool:
    hidden = path.name.startswith(".") or "__MACOSX" in path.parts
    return path.suffix.lower() in SUFFIXES and not hidden


def _relative_path(member: _Member, archive: Path) -> PurePosixPath:
    """The member's path, which stays below the folder it is unpacked to on any system.

    Raises:
        ValueError: it does not, or the member is neither file nor folder.
    """
    name = member.name
    path = PurePosixPath(name)
    if member.kind == "other":
        wrong = "a link or device"
    elif path.is_absolute() or ".." in path.parts or "\\" in name or re.match(r"[A-Za-z]:", name):
        wrong = "a path that leads out of its folder"
    elif any(unicodedata.category(character) in {"Cc", "Cs"} for character in name):
        wrong = "a name with characters no file should have"
    else:
        return path
    raise ValueError(f"{archive} holds {wrong}, {name!r}; do not unpack it, fetch the set from a source you trust")


class _Paths:
    """Paths of files that do not fall on each other, not even where case and Unicode's forms do not count."""

    def __init__(self) -> None:
        self.files: list[PurePosixPath] = []
        self._files: set[str] = set()
        self._folders: set[str] = set()

    def claim(self, path: PurePosixPath, archive: Path) -> None:
        """Keep `path` for one file.

        Raises:
            ValueError: it is another one's already, or a folder, or below a file.
        """
        key, *folders = (unicodedata.normalize("NFC", str(place)).casefold() for place in (path, *path.parents))
        if key in self._files or key in self._folders or not self._files.isdisjoint(folders):
            raise ValueError(
                f"{archive} holds two members that would be one file, {str(path)!r} the second; pack it again without"
            )
        self.files.append(path)
        self._files.add(key)
        self._folders.update(folders)


def _members(archive: Path) -> Iterator[_Member]:
    """What the archive holds, in its order; each can be opened until the next is asked for.

    Raises:
        ValueError: neither zip nor tar, or encrypted.
        BadZipFile, TarError, ...: damaged.
    """
    with archive.open("rb") as handle:
        start = handle.read(4)
    if start in {b"PK\3\4", b"PK\5\6"}:
        yield from _zip_members(archive)
    else:
        yield from _tar_members(archive, "r:gz" if start.startswith(b"\x1f\x8b") else "r:")


def _zip_members(archive: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            if info.flag_bits & 1:
                raise ValueError(f"{archive} is encrypted; unpack it by hand with its password")
            plain = stat.S_IFMT(info.external_attr >> 16) in {0, stat.S_IFREG, stat.S_IFDIR}
            kind = ("folder" if info.orig_filename.endswith("/") else "file") if plain else "other"
            yield _Member(info.orig_filename, kind, partial(opened.open, info))


def _tar_members(archive: Path, mode: Literal["r:", "r:gz"]) -> Iterator[_Member]:
    with tarfile.open(archive, mode) as opened:
        for info in opened:
            kind = "file" if info.isreg() else "folder" if info.isdir() else "other"
            yield _Member(info.name, kind, partial(opened.extractfile, info))
        _check_end(opened.fileobj)


def _check_end(handle: IO[bytes]) -> None:
    """Pass if what follows a tar's last member is its closing zeros; tarfile itself takes any rubbish for the end.

    Reading on to the end also makes gzip compare its checksum.
    """
    ends = False
    while chunk := handle.read(CHUNK):
        if chunk.strip(b"\0"):
            raise tarfile.ReadError("a member's header cannot be read")
        ends = True
    if not ends:
        raise tarfile.ReadError("unexpected end of data")
