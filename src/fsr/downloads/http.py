"""Files over HTTP(S): interrupted transfers go on where they stopped, in the same run or in the next."""

import logging
import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests
import urllib3.exceptions
from filelock import FileLock, Timeout
from tqdm import tqdm
from urllib3.util import Retry

from fsr.downloads.partial import Interrupted, Job, Part, WrongContent, difference, without_credentials
from fsr.files import check_writable, explained

logger = logging.getLogger(__name__)

SCHEMES = ("http", "https")
CHUNK = 1 << 16  # bytes
LONGEST_PAUSE = 60.0  # seconds between two attempts, where the server does not ask for more
LONGEST_WAIT = 600.0  # seconds a server may ask for


@dataclass(frozen=True)
class _Patience:
    attempts: int
    timeout: float
    pause: float
    sleep: Callable[[float], None]


def download(
    url: str,
    target: Path | str,
    *,
    sha256: str | None,
    size: int | None,
    attempts: int = 5,
    timeout: float = 30.0,
    pause: float = 1.0,
    sleep: Callable[[float], None] = time.sleep,
) -> Path:
    """`target`, holding the file at `url` whole; what an interrupted run fetched is not fetched again.

    A `target` that is there already is kept if it has the size and SHA-256 given, and fetched anew if not.

    Args:
        sha256, size: what the file must have, in hexadecimal and bytes; None where it is not known.
        attempts: how many in a row may bring nothing; one that brings bytes starts the count anew.
        timeout: seconds without a byte after which a connection is given up.
        pause: seconds before the second attempt, doubled for each further one, with jitter.
        sleep: what waits.

    Raises:
        FileNotFoundError, PermissionError, ConnectionError, OSError: it is not there, may not be read, cannot be
            reached, or cannot be written; the message says what to do.
        ValueError: not an HTTP(S) URL; or, twice in a row, not the file expected.
    """
    job = Job(url, Path(target), sha256, size)
    if urlsplit(url).scheme not in SCHEMES or not urlsplit(url).hostname:
        raise ValueError(f"{job.shown!r} is not an HTTP(S) URL; correct it")
    if job.target.is_file() and not difference(job.target, sha256, size):
        return job.target
    check_writable(job.target.parent)
    job.target.parent.mkdir(parents=True, exist_ok=True)
    with _alone(job.target):
        part = Part(job.target)
        _fetch_checked(job, part, _Patience(attempts, timeout, pause, sleep))
        part.path.replace(job.target)
        part.drop()
    return job.target


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """One process at a time appends to a file; the lock of a killed one is free."""
    lock = FileLock(f"{target}.part.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise BlockingIOError(f"{target} is being fetched by another process; wait for it, or end it") from None
    try:
        yield
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def _fetch_checked(job: Job, part: Part, patience: _Patience) -> None:
    """Fill `part` with the file expected; another one is thrown away and fetched afresh, once."""
    for last in (False, True):
        try:
            _fetch(job, part, patience)
            wrong = difference(part.path, job.sha256, job.size)
        except WrongContent as error:
            wrong = str(error)
        if not wrong:
            return
        part.drop()
        if not last:
            logger.warning("%s is not the file expected (%s); fetching it afresh", job.shown, wrong)
    raise ValueError(f"{job.shown} is not the file expected: {wrong}; report that the source changed, {job.by_hand}")


def _fetch(job: Job, part: Part, patience: _Patience) -> None:
    """Fill `part`, over as many connections as bring it further."""
    furthest, idle = part.size, 0
    with _Session() as session:
        while True:
            try:
                _receive(session, job, part, patience.timeout)
                return
            except Interrupted as error:
                reason, asked = str(error), error.wait
            idle = 0 if part.size > furthest else idle + 1
            furthest = max(furthest, part.size)
            if idle >= patience.attempts or asked > LONGEST_WAIT:
                raise ConnectionError(
                    f"{job.shown} cannot be fetched: {reason} ({part.size} bytes are kept); check the network and run "
                    f"again later, {job.by_hand}"
                )
            pause = min(patience.pause * 2 ** max(idle - 1, 0), LONGEST_PAUSE)
            wait = max(pause * random.SystemRandom().uniform(0.5, 1), asked)
            logger.warning("%s: %s; going on at byte %d in %.1f s", job.shown, reason, part.size, wait)
            patience.sleep(wait)


def _receive(session: requests.Session, job: Job, part: Part, timeout: float) -> None:
    """Append what is missing, over one connection."""
    headers = part.request_headers(job)
    if part.path.exists() and part.size == job.size:
        return
    try:
        with session.get(job.url, headers=headers, stream=True, timeout=timeout) as response:
            if response.status_code == requests.codes.requested_range_not_satisfiable:
                part.check_end(response)
                return
            total = _accept(response, job, part)
            _append(response.raw.stream(CHUNK, decode_content=False), total, job, part)
    except (requests.TooManyRedirects, requests.exceptions.InvalidURL):
        raise ConnectionError(f"{job.shown} redirects in a circle, or nowhere; report it, {job.by_hand}") from None
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise Interrupted(_reason(error)) from error
    if total is not None and part.size < total:
        raise Interrupted(f"the connection was cut at byte {part.size} of {total}")


def _accept(response: requests.Response, job: Job, part: Part) -> int | None:
    """The whole file's length, None where unknown; from here on `part` ends where the response's body begins."""
    status = response.status_code
    if status in {408, 425, 429} or status >= 500:
        wait = _asked_wait(response)
        raise Interrupted(f"the server answers {status}" + (f" and asks to wait {wait:.0f} s" if wait else ""), wait)
    if status in {404, 410}:
        raise FileNotFoundError(f"{job.shown} is not there (status {status}); report its source, {job.by_hand}")
    if status in {401, 403}:
        raise PermissionError(f"{job.shown} may not be read (status {status}); see its terms, {job.by_hand}")
    if status == requests.codes.partial_content:
        total = part.check_continuation(response)
    elif status == requests.codes.ok:
        part.begin(response, job)
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdecimal() else None
    else:
        raise OSError(f"{job.shown} cannot be fetched (status {status}); report its source, {job.by_hand}")
    if None not in (total, job.size) and total != job.size:
        raise WrongContent(f"{total} bytes, expected {job.size}")
    if {total, job.size, job.sha256} == {None} and "Transfer-Encoding" not in response.headers:
        raise ValueError(f"{job.shown} does not tell its length, nor where it ends; give its size or SHA-256")
    return job.size if total is None else total


def _append(chunks: Iterable[bytes], total: int | None, job: Job, part: Part) -> None:
    shape = {"unit": "B", "unit_scale": True, "mininterval": 5.0, "dynamic_ncols": True}
    try:
        with tqdm(desc=job.target.name, total=total, initial=part.size, **shape) as bar, part.path.open("ab") as handle:
            for chunk in chunks:
                handle.write(chunk)
                bar.update(len(chunk))
                if total is not None and handle.tell() > total:
                    raise WrongContent(f"more than {total} bytes, expected {total}")
    except OSError as error:
        raise explained(error, part.path) from error


def _asked_wait(response: requests.Response) -> float:
    """Seconds of the Retry-After header, be it a number or a date; 0 without one."""
    try:
        return float(Retry().parse_retry_after(response.headers.get("Retry-After", "0")))
    except urllib3.exceptions.InvalidHeader:
        return 0.0


def _reason(error: Exception) -> str:
    match error:
        case requests.exceptions.SSLError() | urllib3.exceptions.SSLError():
            return "no TLS connection that can be trusted (are clock and certificates right?)"
        case requests.exceptions.ProxyError():
            return "the proxy cannot be used"
        case requests.Timeout() | urllib3.exceptions.TimeoutError():
            return "the server is silent"
        case requests.ConnectionError():
            return "no connection to the server"
        case _:
            return "the connection was cut"


class _Session(requests.Session):
    """Follows redirects, but not from HTTPS to anything else."""

    def __init__(self) -> None:
        super().__init__()
        self.max_redirects = 10

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        target = super().get_redirect_target(resp)
        old, new = urlsplit(resp.url).scheme, urlsplit(urljoin(resp.url, target or "")).scheme
        if new not in SCHEMES or (old, new) == ("https", "http"):
            shown = without_credentials(resp.url)
            raise PermissionError(f"{shown} redirects from {old} to {new}, which is not followed; report its source")
        return target
