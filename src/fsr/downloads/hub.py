"""Files from the Hugging Face hub, through its own client and cache: HF_HOME, HF_ENDPOINT and HF_TOKEN are heeded."""

import hashlib
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from fsr.downloads.partial import difference, without_credentials
from fsr.files import explained

logger = logging.getLogger(__name__)


def download_from_hub(
    repo_id: str,
    filename: str,
    *,
    repo_type: str = "dataset",
    revision: str | None = None,
    sha256: str | None = None,
    size: int | None = None,
    offline: bool = False,
) -> Path:
    """The file in the hub's cache, checked: against `sha256`, else against the checksum the hub itself tells.

    Args:
        filename: path inside the repository.
        repo_type: dataset or model.
        revision: a commit, tag or branch; None for main.
        sha256, size: what the file must have, in hexadecimal and bytes; None where it is not known.
        offline: take it from the cache only, as HF_HUB_OFFLINE=1 does.

    Raises:
        FileNotFoundError, PermissionError, ConnectionError, OSError: no such repository or file, not for you, out of
            reach, or not writable; the message says what to do.
        ValueError: twice in a row not the file expected; or the hub tells no checksum.
    """
    source = _Source(repo_id, filename, repo_type, revision, offline or constants.HF_HUB_OFFLINE)
    path = source.fetch()
    wrong = _difference(path, source, sha256, size)
    if wrong and not source.offline:
        logger.warning("%s is not the file expected (%s); fetching it afresh", source, wrong)
        path = source.fetch(again=True)
        wrong = _difference(path, source, sha256, size)
    if wrong:
        remedy = "run again online" if source.offline else "report that the source changed, or fetch the set by hand"
        raise ValueError(f"{source} is not the file expected: {wrong}; {remedy}")
    return path


@dataclass(frozen=True)
class _Source:
    repo_id: str
    filename: str
    repo_type: str
    revision: str | None
    offline: bool

    def __str__(self) -> str:
        return f"{self.filename} of {self.repo_type} {self.repo_id}" + (f" at {self.revision}" if self.revision else "")

    def fetch(self, again: bool = False) -> Path:
        """The file in the cache, as it is there or `again` from the hub."""
        place = {"repo_type": self.repo_type, "revision": self.revision, "local_files_only": self.offline}
        with _errors_in_one_line(self):
            return Path(hf_hub_download(self.repo_id, self.filename, force_download=again, **place))

    def etag(self, path: Path) -> str:
        """What the hub told of `path` in its cache, where blobs are named by it; asked anew where links are off."""
        if path.is_symlink():
            return path.readlink().name
        if self.offline:
            return ""
        commit = path.parents[self.filename.count("/")].name
        url = hf_hub_url(self.repo_id, self.filename, repo_type=self.repo_type, revision=commit)
        with _errors_in_one_line(self):
            return get_hf_file_metadata(url).etag or ""


@contextmanager
def _errors_in_one_line(source: _Source) -> Iterator[None]:
    """The hub client's errors in words of ours: its own take many lines and may hold a signed URL."""
    try:
        yield
    except GatedRepoError:
        raise PermissionError(
            f"{source} is gated; accept its terms on the hub, then set HF_TOKEN to a token of yours"
        ) from None
    except RepositoryNotFoundError:
        raise FileNotFoundError(
            f"{source}: the hub has no such repository, or it is private; correct its name, or set HF_TOKEN"
        ) from None
    except RevisionNotFoundError:
        raise FileNotFoundError(f"{source}: the repository has no such revision; correct it") from None
    except LocalEntryNotFoundError:
        if source.offline:
            raise FileNotFoundError(
                f"{source} is not in the hub's cache; run once online, or set HF_HOME to a cache that has it"
            ) from None
        raise ConnectionError(_out_of_reach(source)) from None
    except EntryNotFoundError:
        raise FileNotFoundError(f"{source}: the repository has no such file; correct its name") from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        raise ConnectionError(f"{source}: the hub answers {status}; check HF_TOKEN, or run again later") from None
    except HTTPError:
        raise ConnectionError(_out_of_reach(source)) from None
    except OSError as error:
        raise explained(error, f"{source} to {constants.HF_HUB_CACHE}") from error


def _out_of_reach(source: _Source) -> str:
    endpoint = without_credentials(constants.ENDPOINT)
    return f"{source}: no hub within reach at {endpoint}; check the network and HF_ENDPOINT, then run again"


def _difference(path: Path, source: _Source, sha256: str | None, size: int | None) -> str:
    """How the file differs from what is registered or, without a SHA-256, from what the hub tells."""
    wrong = difference(path, sha256, size)
    if wrong or sha256:
        return wrong
    etag = source.etag(path)
    if re.fullmatch(r"[0-9a-f]{64}", etag):  # LFS: the SHA-256
        return difference(path, etag, None)
    if re.fullmatch(r"[0-9a-f]{40}", etag):  # kept in git: the blob's SHA-1
        found = _git_sha1(path)
        return "" if found == etag else f"git SHA-1 {found}, expected {etag}"
    raise ValueError(f"{source} has no checksum of the hub's; register its SHA-256")


def _git_sha1(path: Path) -> str:
    header = f"blob {path.stat().st_size}\0".encode()
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.sha1(header, usedforsecurity=False)).hexdigest()
