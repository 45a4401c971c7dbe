"""A file on its way: what has come so far, which version of which file it is the beginning of, whether it is right."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import requests

from fsr.files import read_json, sha256_of_file, write_json

VERSION_HEADERS = ("ETag", "Last-Modified")


class Interrupted(Exception):  # noqa: N818 - never shown: another attempt follows
    """A transfer that ended early for a reason that may pass; `wait` seconds are what the server asks for."""

    def __init__(self, reason: str, wait: float = 0.0):
        super().__init__(reason)
        self.wait = wait


class WrongContent(Exception):  # noqa: N818 - never shown: a fresh transfer follows
    """What is served is not the file that was asked for."""


@dataclass(frozen=True)
class Job:
    """What is fetched to where, and how it is recognised (hexadecimal SHA-256, bytes; None where not known)."""

    url: str
    target: Path
    sha256: str | None
    size: int | None

    @property
    def shown(self) -> str:
        """The URL for messages and files."""
        return without_credentials(self.url)

    @property
    def by_hand(self) -> str:
        """The last remedy of every message."""
        return f"or fetch the file by hand to {self.target}"


class Part:
    """`<target>.part`, the bytes so far, and `<target>.part.json`, what their source said of itself at the first."""

    def __init__(self, target: Path):
        self.path = target.with_name(f"{target.name}.part")
        self.note = target.with_name(f"{target.name}.part.json")

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def _origin(self) -> dict[str, str | None]:
        return read_json(self.note) if self.note.is_file() else {}

    def request_headers(self, job: Job) -> dict[str, str]:
        """Headers that ask for what is missing; bytes that cannot be gone on from are dropped first.

        Without a version to ask for, only a registered SHA-256 can tell whether two halves belong together.
        """
        origin = self._origin
        etag, modified = (origin.get(name) for name in VERSION_HEADERS)
        version = modified if (etag or "W/").startswith("W/") else etag
        too_long = job.size is not None and self.size > job.size
        if origin.get("url", job.shown) != job.shown or too_long or not (version or job.sha256):
            self.drop()
        headers = {"Accept-Encoding": "identity"}
        if self.size:
            headers |= {"Range": f"bytes={self.size}-"} | ({"If-Range": version} if version else {})
        return headers

    def begin(self, response: requests.Response, job: Job) -> None:
        """Start over with a whole file, and note its version."""
        self.path.write_bytes(b"")
        write_json(self.note, {"url": job.shown} | {name: response.headers.get(name) for name in VERSION_HEADERS})

    def check_continuation(self, response: requests.Response) -> int | None:
        """The whole file's length (None where unknown), of a 206 that goes on where this ends.

        Raises:
            Interrupted: it does not, or is of another version; the bytes so far are dropped.
        """
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if found is None or int(found[1]) != self.size or self._changed(response):
            self.drop()
            raise Interrupted("the server answers with another part than asked for, or of another version")
        return None if found[2] == "*" else int(found[2])

    def check_end(self, response: requests.Response) -> None:
        """Pass if a 416 means that nothing is missing.

        Raises:
            Interrupted: it does not; the bytes so far are dropped.
        """
        if response.headers.get("Content-Range") != f"bytes */{self.size}" or self._changed(response):
            self.drop()
            raise Interrupted("the file is now shorter than what has come of it")

    def _changed(self, response: requests.Response) -> bool:
        known = {name: value for name, value in self._origin.items() if name in VERSION_HEADERS and value}
        return any(response.headers.get(name, value) != value for name, value in known.items())

    def drop(self) -> None:
        """Forget the bytes and their origin."""
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


def without_credentials(url: str) -> str:
    """The URL without user, password and query."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "..." if parts.query else "", ""))


def difference(path: Path, sha256: str | None, size: int | None) -> str:
    """How the file differs from what is expected of it; empty where it does not."""
    found = path.stat().st_size
    if size is not None and found != size:
        return f"{found} bytes, expected {size}"
    if sha256 is not None and (digest := sha256_of_file(path)) != sha256.lower():
        return f"SHA-256 {digest}, expected {sha256.lower()}"
    return ""
