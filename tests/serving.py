"""A real HTTP server on 127.0.0.1 for tests: it serves files honestly, or fails in the way a test asks for."""

import hashlib
import socket
import ssl
import struct
import sys
import threading
from collections import deque
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
MODIFIED = "Wed, 21 Oct 2015 07:28:00 GMT"


@dataclass(frozen=True)
class File:
    """What a path holds; `headers` go with every answer."""

    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Fault:
    """How one request is answered instead of honestly; a header of None is left out.

    `cut` ends the connection after so many bytes of the body; `hold` keeps it silent after as many, until the server
    stops; `ignore` names request headers the server does not see; `body` stands in for the file's.
    """

    status: int | None = None
    headers: dict[str, str | None] = field(default_factory=dict)
    cut: int | None = None
    hold: int | None = None
    reset: bool = False
    ignore: tuple[str, ...] = ()
    body: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Request:
    """One line of the server's log."""

    method: str
    path: str
    headers: Message

    @property
    def start(self) -> int:
        """First byte asked for."""
        return int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))


class Server:
    """Serves `files` by path, with `faults[path]` first; as a context it runs until the block ends."""

    def __init__(self) -> None:
        self.files: dict[str, File] = {}
        self.faults: dict[str, deque[Fault]] = {}
        self.always: dict[str, Fault] = {}
        self.requests: list[Request] = []
        self.stopped = threading.Event()
        self._http = _Quiet(("127.0.0.1", 0), type("Handler", (_Handler,), {"owner": self}))
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._http.server_address[1]

    @property
    def url(self) -> str:
        """Its root, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def secure(self, context: ssl.SSLContext) -> None:
        """Speak TLS."""
        self._http.socket = context.wrap_socket(self._http.socket, server_side=True)

    def put(self, path: str, body: bytes, *faults: Fault, **headers: str | None) -> str:
        """URL of a file; the faults answer the first requests. `headers`: `Last_Modified`, ...; None leaves one out."""
        known = {"ETag": f'"{hashlib.md5(body).hexdigest()}"', "Last-Modified": MODIFIED}
        known |= {name.replace("_", "-"): value for name, value in headers.items()}
        self.files[path] = File(body, {name: value for name, value in known.items() if value is not None})
        self.faults[path] = deque(faults)
        return self.url + path

    def put_hub_file(self, repo: str, name: str, body: bytes, *, etag: str, repo_type: str = "dataset") -> str:
        """Path of a file as the Hugging Face hub serves it, on its branch main and at its one commit."""
        root = {"dataset": "/datasets/", "model": "/"}[repo_type] + f"{repo}/resolve"
        told = {"X-Repo-Commit": COMMIT, "X-Linked-ETag": f'"{etag}"', "X-Linked-Size": str(len(body))}
        for revision in ("main", COMMIT):
            self.put(f"{root}/{revision}/{name}", body, **{key.replace("-", "_"): value for key, value in told.items()})
        return f"{root}/main/{name}"

    def asked(self, path: str) -> list[Request]:
        """What has been asked for at `path`, in order."""
        return [request for request in self.requests if urlsplit(request.path).path == path]

    def __enter__(self) -> "Server":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self._http.shutdown()
        self._http.server_close()


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exception(), OSError):  # a client that left
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    owner: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.owner.requests.append(Request(self.command, self.path, self.headers))
        waiting = self.owner.faults.get(path)
        fault = waiting.popleft() if waiting else self.owner.always.get(path, Fault())
        file = self.owner.files.get(path)
        if file is None and fault.status is None:
            fault = Fault(404, fault.headers)
        status, headers, body = self._honest(file or File(b""), fault)
        if fault.status is not None:
            status, headers, body = fault.status, {"Content-Length": str(len(fault.body or b""))}, fault.body or b""
        headers |= fault.headers
        self.send_response(status)
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self._send(body, fault, closes=headers.get("Content-Length") is None)

    do_HEAD = do_GET

    def _honest(self, file: File, fault: Fault) -> tuple[int, dict[str, str | None], bytes]:
        """RFC 9110: ranges, If-Range, 416."""
        body = file.body if fault.body is None else fault.body
        headers: dict[str, str | None] = {"Accept-Ranges": "bytes", **file.headers}
        asked = {name: value for name, value in self.headers.items() if name not in fault.ignore}
        current = asked.get("If-Range") in {None, headers.get("ETag"), headers.get("Last-Modified")}
        if "Range" not in asked or not current:
            return 200, headers | {"Content-Length": str(len(body))}, body
        start = int(asked["Range"].removeprefix("bytes=").removesuffix("-"))
        if start >= len(body):
            return 416, headers | {"Content-Length": "0", "Content-Range": f"bytes */{len(body)}"}, b""
        told = {"Content-Length": str(len(body) - start), "Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"}
        return 206, headers | told, body[start:]

    def _send(self, body: bytes, fault: Fault, closes: bool) -> None:
        stop = next((place for place in (fault.cut, fault.hold) if place is not None), None)
        self.wfile.write(body[:stop])
        if fault.hold is not None:
            self.owner.stopped.wait(30)
        if fault.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if stop is not None or closes:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass
