"""The page's server: standard library, on 127.0.0.1 only, for pages of its own address only."""

import contextlib
import json
import logging
import re
import secrets
import socket
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from fsr.demo.page import rendered
from fsr.demo.workbench import KEPT, RefusedError, Workbench

ADDRESS = "127.0.0.1"
NAMES = (ADDRESS, "localhost")  # by which a browser may call it: no other name, whatever it resolves to
RESULT = re.compile(r"/result/([\w-]{1,64})/(before|after)\.png")
PATIENCE = 30.0  # seconds without a byte
POLICY = (
    "default-src 'none'; img-src 'self' data:; connect-src 'self'; style-src 'nonce-{0}'; script-src 'nonce-{0}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
log = logging.getLogger(__name__)


class Demo(ThreadingHTTPServer):
    """Serves a workbench's page, its uploads and its results; no file of the disk.

    Raises:
        OSError: the port is taken, or may not be taken.
    """

    daemon_threads = True

    def __init__(self, workbench: Workbench, port: int) -> None:
        self.workbench = workbench
        try:
            super().__init__((ADDRESS, port), Handler)
        except OSError as error:
            raise OSError(error.errno, f"port {port} cannot be used ({error.strerror}); give another --port") from error

    @property
    def url(self) -> str:
        return f"http://{ADDRESS}:{self.server_port}/"


def serve(workbench: Workbench, port: int, ready: Callable[[str], None]) -> None:
    """Serve until Ctrl-C; `ready` is told the address once it answers.

    Raises:
        OSError: the port is taken, or may not be taken.
    """
    with Demo(workbench, port) as server, contextlib.suppress(KeyboardInterrupt):
        ready(server.url)
        server.serve_forever()


class Handler(BaseHTTPRequestHandler):
    """One request. Every refusal is one line of text."""

    server: Demo
    server_version, sys_version, timeout = "fsr", "", PATIENCE

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def _answer(self, respond: Callable[[str], None]) -> None:
        try:
            self._check_host()
            respond(urlsplit(self.path).path)
        except RefusedError as refused:
            self._refuse(refused)
        except OSError as error:
            log.debug("connection lost: %s", error)
            self.close_connection = True
        except Exception:
            log.exception("a request failed")
            self._refuse(RefusedError(HTTPStatus.INTERNAL_SERVER_ERROR, "that failed; see fsr demo in its terminal"))

    def _get(self, path: str) -> None:
        if path == "/":
            self._page()
            return
        if path == "/progress":
            self._send(HTTPStatus.OK, "application/json", json.dumps(self.server.workbench.progress).encode())
            return
        found = RESULT.fullmatch(path)
        if not found:
            raise RefusedError(HTTPStatus.NOT_FOUND, "there is nothing here; the page is at /")
        self._send(HTTPStatus.OK, "image/png", getattr(self.server.workbench.result(found[1]), found[2]))

    def _page(self) -> None:
        workbench, nonce = self.server.workbench, secrets.token_urlsafe(16)
        page = rendered(
            "demo.html.j2",
            nonce=nonce,
            scales=workbench.scales,
            megapixels=f"{workbench.max_pixels / 1e6:g}",
            max_bytes=workbench.max_bytes,
            kept=KEPT,
        )
        policy = {"Content-Security-Policy": POLICY.format(nonce)}
        self._send(HTTPStatus.OK, "text/html; charset=utf-8", page.encode(), policy)

    def _post(self, path: str) -> None:
        self._check_origin()
        if path != "/upscale":
            raise RefusedError(HTTPStatus.NOT_FOUND, "there is nothing here; pictures go to /upscale?scale=")
        scale, length = self._scale(), self._length()
        workbench = self.server.workbench
        with workbench.turn():
            upload = self.rfile.read(length)
            if len(upload) < length:
                raise RefusedError(HTTPStatus.BAD_REQUEST, "the upload broke off; try again")
            key = workbench.make(upload, scale)
        result = workbench.result(key)
        answer = {name: f"/result/{key}/{name}.png" for name in ("before", "after")}
        answer |= {name: getattr(result, name) for name in ("width", "height", "scale", "seconds")}
        log.info("%d x %d pixels in %.2f s", result.width, result.height, result.seconds)
        self._send(HTTPStatus.OK, "application/json", json.dumps(answer).encode())

    def _check_host(self) -> None:
        """A name that was made to resolve to this machine is not its own (DNS rebinding)."""
        port = self.server.server_port
        hosts = [f"{name}:{port}" for name in NAMES] + (list(NAMES) if port == 80 else [])
        if self.headers.get_all("Host", []) not in [[host] for host in hosts]:
            raise RefusedError(HTTPStatus.FORBIDDEN, f"not the address of this page; open {self.server.url}")

    def _check_origin(self) -> None:
        """Only this page's own script may send: no other site's, and no form."""
        own, site = f"http://{self.headers['Host']}", self.headers.get("Sec-Fetch-Site", "same-origin")
        if self.headers.get_all("Origin", []) != [own] or site != "same-origin":
            raise RefusedError(HTTPStatus.FORBIDDEN, f"pictures are taken from this page alone; open {self.server.url}")

    def _scale(self) -> int:
        text = parse_qs(urlsplit(self.path).query).get("scale", [""])[-1]
        if not re.fullmatch(r"[1-9]\d?", text, re.ASCII):
            raise RefusedError(HTTPStatus.BAD_REQUEST, "the scale is no whole number; choose one on the page")
        return int(text)

    def _length(self) -> int:
        """Bytes of the upload, which must be said before any is read."""
        given, limit = self.headers.get_all("Content-Length", []), self.server.workbench.max_bytes
        if "Transfer-Encoding" in self.headers or len(given) != 1 or not re.fullmatch(r"\d+", given[0], re.ASCII):
            raise RefusedError(HTTPStatus.LENGTH_REQUIRED, "the upload must say its length (Content-Length)")
        if len(given[0]) > 18 or int(given[0]) > limit:
            text = f"the file is too large; at most {limit / 2**20:.0f} MiB are taken, or raise --max-megapixels"
            raise RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text)
        return int(given[0])

    def _refuse(self, refused: RefusedError) -> None:
        with contextlib.suppress(OSError):
            self._send(refused.status, "text/plain; charset=utf-8", f"{refused.text}\n".encode(), refused.headers)
            self._drain()

    def _drain(self) -> None:
        """Let a client that is still sending read the answer: what it sends, up to a limit, is thrown away."""
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_WR)
        self.connection.settimeout(2.0)
        left = 2 * self.server.workbench.max_bytes
        while left > 0 and (part := self.connection.recv(2**16)):
            left -= len(part)

    def _send(self, status: HTTPStatus, kind: str, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        safe = {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cross-Origin-Opener-Policy": "same-origin",
        }
        for name, value in {**safe, **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the standard library refuses, as a line of text too."""
        self._refuse(RefusedError(HTTPStatus(code), message or HTTPStatus(code).phrase))

    def log_message(self, format: str, *arguments: object) -> None:
        """Requests are not logged; pictures are."""
