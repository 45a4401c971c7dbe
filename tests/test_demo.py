"""The page that enlarges pictures: what it gives, what it refuses before it costs anything, and how it looks."""

import http.client
import io
import json
import os
import re
import signal
import socket
import struct
import sys
import threading
import time
import zlib
from contextlib import contextmanager, suppress
from functools import cache

import numpy as np
import pytest
import torch
from browsing import started
from PIL import Image
from tiny_models import tiny_model

from fsr import cli
from fsr.autoencoders import FrozenAutoencoder, weights_sha256
from fsr.cli import pages
from fsr.demo.page import png
from fsr.demo.server import Demo
from fsr.demo.workbench import KEPT, Workbench
from fsr.flow.field import VectorField
from fsr.images import enlarge, read_image, write_image
from fsr.pipeline import ImagePipeline

assert pages.demo

SIDE = 64  # of the largest picture taken
SIGNATURE = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def pipeline():
    """A random field that moves every feature, of scales 2 and 4, and its autoencoder."""
    autoencoder = FrozenAutoencoder(tiny_model())
    torch.manual_seed(1)
    channels, known = autoencoder.decoder.cut("f4").channels, weights_sha256(autoencoder)
    sizes = {"hidden": 16, "blocks": 1, "block": "residual", "patch": 1, "gate": "none"}
    field = VectorField(channels, "f4", [2, 4], known, **sizes)
    torch.nn.init.normal_(field.out_velocity.weight, std=0.3)
    return ImagePipeline(autoencoder, field.eval(), 2)


@contextmanager
def serving(pipeline, max_pixels=SIDE**2):
    with Demo(Workbench(pipeline, max_pixels), 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def server(pipeline):
    with serving(pipeline) as server:
        yield server


def noise(width: int, height: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def header(width: int, height: int) -> bytes:
    """The begin of a PNG that claims a size."""
    return SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))


def raw(server, text: str, body: bytes = b"") -> tuple[int, str, dict[str, str]]:
    """The answer to a request as written: status, text, headers. PORT and LENGTH are filled in."""
    text = text.replace("PORT", str(server.server_port)).replace("LENGTH", str(len(body)))
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as connection:
        connection.sendall(text.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return answer.status, answer.read().decode(), dict(answer.headers)


def get(server, path: str) -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, answer.read(), dict(answer.headers)


OWN = "Host: 127.0.0.1:PORT\nOrigin: http://127.0.0.1:PORT"
POST = f"POST /upscale?scale=2 HTTP/1.1\n{OWN}\nContent-Length: LENGTH"


def upload(server, body: bytes, scale: object = 2) -> tuple[int, str, dict[str, str]]:
    return raw(server, POST.replace("scale=2", f"scale={scale}"), body)


@pytest.mark.parametrize(("scale", "size", "kind"), [(2, (33, 21), "PNG"), (4, (16, 24), "JPEG"), (2, (9, 64), "WEBP")])
def test_a_result_is_the_file_that_the_pipeline_would_write(server, pipeline, tmp_path, scale, size, kind):
    sent = encoded(noise(*size), kind)
    status, text, _ = upload(server, sent, scale)
    answer = json.loads(text)
    assert status == 200 and (answer["width"], answer["height"]) == (scale * size[0], scale * size[1])
    (tmp_path / f"sent.{kind.lower()}").write_bytes(sent)
    x_L = read_image(tmp_path / f"sent.{kind.lower()}")
    at_scale = ImagePipeline(pipeline.autoencoder, pipeline.field, scale)
    status, after, headers = get(server, answer["after"])
    assert (status, headers["Content-Type"]) == (200, "image/png")
    assert after == write_image(tmp_path / "expected.png", at_scale(x_L)).read_bytes()
    assert get(server, answer["before"])[1] == png(enlarge(x_L, scale)) != after


def test_it_listens_on_this_machine_alone(server):
    assert server.server_address[0] == "127.0.0.1"
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.2", server.server_port), timeout=5)


@pytest.mark.parametrize(
    "hosts",
    ["Host: evil.example", "Host: evil.example:PORT", "Host: 127.0.0.1", "Host: 127.0.0.1:1",
     "Host: 127.0.0.1.evil:PORT", "X: y", "Host: 127.0.0.1:PORT\nHost: evil.example"],
)  # fmt: skip
def test_another_name_for_this_machine_is_refused(server, hosts):
    for request in (f"GET / HTTP/1.1\n{hosts}", f"{POST.replace('Host: 127.0.0.1:PORT', hosts)}"):
        status, text, _ = raw(server, request)
        assert status == 403 and "<" not in text and "open http://127.0.0.1" in text
    assert raw(server, "GET / HTTP/1.1\nHost: localhost:PORT")[0] == 200


@pytest.mark.parametrize(
    "origin",
    ["X: y", "Origin: null", "Origin: https://127.0.0.1:PORT", "Origin: http://evil.example", "Origin: http://127.0.0.1:1",
     "Origin: http://localhost:PORT", "Origin: http://127.0.0.1:PORT\nSec-Fetch-Site: cross-site",
     "Origin: http://127.0.0.1:PORT\nOrigin: http://evil.example"],
)  # fmt: skip
def test_only_its_own_page_may_send(server, origin):
    request = POST.replace("Origin: http://127.0.0.1:PORT", origin)
    status, text, headers = raw(server, request, encoded(noise(8, 8)))
    assert status == 403 and "this page alone" in text and "Access-Control-Allow-Origin" not in headers
    assert upload(server, encoded(noise(8, 8)))[0] == 200


@pytest.mark.parametrize(
    ("length", "status"),
    [
        ("X: y", 411),
        ("Transfer-Encoding: chunked", 411),
        ("Transfer-Encoding: chunked\nContent-Length: 10", 411),
        ("Content-Length: -1", 411),
        ("Content-Length: 1e3", 411),
        ("Content-Length: ٣", 411),
        ("Content-Length: 5\nContent-Length: 6", 411),
        ("Content-Length: 99999999999", 413),
        (f"Content-Length: {'9' * 5000}", 413),
    ],
)
def test_the_length_is_checked_before_anything_is_read(server, length, status):
    began = time.monotonic()
    answered, text, _ = raw(server, POST.replace("Content-Length: LENGTH", length))
    assert answered == status and len(text.splitlines()) == 1
    assert time.monotonic() - began < 1.5, "it waits for nothing"


def test_the_limit_in_bytes_is_exact(server):
    limit = server.workbench.max_bytes
    assert raw(server, POST.replace("LENGTH", str(limit + 1)))[0] == 413
    status, text, _ = upload(server, bytes(limit))
    assert status == 415 and "choose a file of PNG, JPEG, WEBP" in text


def test_who_sends_too_much_still_reads_why(pipeline):
    """More than sockets buffer: a server that closed at once would break the connection, and hide its answer."""
    with serving(pipeline, 10**6) as server:
        status, text, _ = upload(server, bytes(server.workbench.max_bytes + 2**23))
    assert status == 413 and "at most 9 MiB" in text and "--max-megapixels" in text


@pytest.mark.parametrize("sides", [(SIDE + 1, SIDE), (20_000, 20_000), (60_000, 60_000), (2**31 - 1, 1)])
def test_pixels_are_counted_before_they_are_decoded(server, monkeypatch, sides):
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda *_: pytest.fail("decoded"))
    bomb = header(*sides) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    status, text, _ = upload(server, bomb)
    assert status == 413 and "at most 0.004096 megapixels" in text


def test_the_largest_picture_is_taken(server):
    assert upload(server, encoded(noise(SIDE, SIDE)))[0] == 200


@cache
def compressed_text() -> bytes:
    """A picture whose comment is 200 MB once inflated."""
    whole, packer = encoded(noise(8, 8)), zlib.compressobj(9)
    inflated = b"".join(packer.compress(bytes(2**20)) for _ in range(200)) + packer.flush()
    return whole[:-12] + chunk(b"zTXt", b"comment\0\0" + inflated) + whole[-12:]


def moving(kind: str) -> bytes:
    buffer, frames = io.BytesIO(), [Image.fromarray(noise(8, 8, seed)) for seed in (0, 1)]
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def bad_uploads() -> dict[str, tuple[bytes, int]]:
    whole = encoded(noise(40, 40))
    return {
        "empty": (b"", 415),
        "text": (b"GIF89a, or so it says", 415),
        "gif": (encoded(noise(8, 8), "GIF"), 415),
        "tiff": (encoded(noise(8, 8), "TIFF"), 415),
        "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", 415),
        "animated PNG": (moving("PNG"), 415),
        "animated WebP": (moving("WEBP"), 415),
        "truncated": (whole[: len(whole) // 2], 422),
        "flipped": (whole[:200] + bytes(20) + whole[220:], 422),
        "inflating": (compressed_text(), 422),
    }


@pytest.mark.parametrize("name", bad_uploads())
def test_what_is_no_picture_is_refused_in_a_line(server, name):
    body, expected = bad_uploads()[name]
    assert len(body) < server.workbench.max_bytes
    status, text, headers = upload(server, body)
    assert status == expected and len(text.splitlines()) == 1 and "/" not in text.replace("once/", "")
    assert headers["Content-Type"] == "text/plain; charset=utf-8"
    assert upload(server, encoded(noise(8, 8)))[0] == 200, "the next one is taken"


@pytest.mark.parametrize("scale", ["", "3", "0", "-2", "2.0", "２", "999", "2&scale=3"])
def test_only_the_fields_scales_are_taken(server, scale):
    request = POST.replace("scale=2", f"scale={scale}".encode().decode("latin-1"))
    assert raw(server, request, encoded(noise(8, 8)))[0] == 400


def test_an_upload_that_breaks_off_leaves_the_place_free(server):
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as connection:
        request = POST.replace("PORT", str(server.server_port)).replace("LENGTH", "500").replace("\n", "\r\n")
        connection.sendall(request.encode() + b"\r\n\r\n" + b"x" * 100)
        connection.shutdown(socket.SHUT_WR)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.status == 400 and b"broke off" in answer.read()
    assert upload(server, encoded(noise(8, 8)))[0] == 200


def test_one_picture_is_enlarged_at_a_time(server):
    with server.workbench.turn():
        status, text, headers = upload(server, encoded(noise(8, 8)))
        assert status == 503 and int(headers["Retry-After"]) > 0 and "another picture" in text
        assert get(server, "/")[0] == 200, "pages are served meanwhile"
    assert upload(server, encoded(noise(8, 8)))[0] == 200


def test_the_lock_holds_while_a_picture_is_computed(pipeline, monkeypatch):
    entered, leave = threading.Event(), threading.Event()

    def slow(_, x_L, scale):
        entered.set()
        assert leave.wait(20)
        return enlarge(x_L, scale)

    monkeypatch.setattr(Workbench, "_enlarged", slow)
    with serving(pipeline) as server:
        first = []
        thread = threading.Thread(target=lambda: first.append(upload(server, encoded(noise(8, 8)))[0]))
        thread.start()
        assert entered.wait(10)
        second = upload(server, encoded(noise(8, 8)))[0]
        leave.set()
        thread.join()
    assert (first, second) == ([200], 503)


def test_how_far_a_picture_is_can_be_asked_while_it_is_computed(pipeline, monkeypatch):
    """Of scale 2 the encoder's pass counts as one of five."""
    told, leave, whole = threading.Event(), threading.Event(), ImagePipeline.__call__

    def telling(self, x_L):
        for share in (1.0, 0.5):
            self.renderer.progress(share)
        told.set()
        assert leave.wait(20)
        return whole(self, x_L)

    monkeypatch.setattr(ImagePipeline, "__call__", telling)
    with serving(pipeline) as server:
        assert json.loads(get(server, "/progress")[1]) == 0
        thread = threading.Thread(target=upload, args=(server, encoded(noise(8, 8))))
        thread.start()
        assert told.wait(10)
        status, body, headers = get(server, "/progress")
        leave.set()
        thread.join()
        assert (status, json.loads(body), headers["Content-Type"]) == (200, pytest.approx(0.6), "application/json")
        upload(server, b"no picture")
        assert json.loads(get(server, "/progress")[1]) == 0


def test_a_jpeg_with_more_pictures_inside_is_taken(server):
    """A camera's: the first is the picture."""
    buffer, preview = io.BytesIO(), Image.fromarray(noise(8, 8))
    Image.fromarray(noise(30, 20)).save(buffer, "MPO", save_all=True, append_images=[preview])
    status, text, _ = upload(server, buffer.getvalue())
    assert (status, json.loads(text)["width"]) == (200, 60)


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (MemoryError(), 507, "a picture of 8x6 pixels ran out of memory"),
        (ValueError("the result is not finite; use float32"), 422, "not finite"),
        (RuntimeError("a secret of /home"), 500, "see fsr demo in its terminal"),
    ],
)
def test_what_fails_is_told_and_ends_nothing(server, monkeypatch, error, status, said):
    def fails(*_):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(Workbench, "_enlarged", fails)
        answered, text, _ = upload(server, encoded(noise(8, 6)))
        assert answered == status and said in text and "secret" not in text
    assert upload(server, encoded(noise(8, 6)))[0] == 200


def test_results_are_few_and_their_names_cannot_be_guessed(server):
    keys = [json.loads(upload(server, encoded(noise(8, 8, seed)))[1])["after"] for seed in range(KEPT + 1)]
    assert [get(server, key)[0] for key in keys] == [404] + [200] * KEPT
    assert len(set(keys)) == len(keys) and all(len(key.split("/")[2]) >= 20 for key in keys)
    assert len(server.workbench._results) == KEPT


@pytest.mark.parametrize(
    "path",
    ["/../../../../etc/passwd", "//etc/passwd", "/result/../../etc/passwd", "/result/..%2f..%2fetc/after.png",
     "/page.py", "/result/x/after.png", "/result//after.png", "/result/x/_results.png", "/templates/demo.js",
     "/favicon.ico", "*", "http://127.0.0.1/etc/passwd"],
)  # fmt: skip
def test_no_file_is_served(server, path):
    status, text, _ = raw(server, f"GET {path} HTTP/1.1\n{OWN}")
    assert status == 404 and len(text.splitlines()) == 1 and "root:" not in text


def test_other_methods_and_nonsense_are_refused_as_text(server):
    for request in (f"PUT / HTTP/1.1\n{OWN}", f"OPTIONS /upscale HTTP/1.1\n{OWN}", f"<script> / HTTP/1.1\n{OWN}"):
        status, _, headers = raw(server, request)
        assert status == 501 and headers["Content-Type"].startswith("text/plain")
        assert "Access-Control-Allow-Origin" not in headers
    assert raw(server, f"POST / HTTP/1.1\n{OWN}\nContent-Length: 0")[0] == 404
    assert get(server, "/")[0] == 200


def test_the_page_allows_itself_alone(server):
    status, page, headers = get(server, "/")
    policy, text = headers["Content-Security-Policy"], page.decode()
    nonces = set(re.findall(r'nonce="([^"]+)"', text))
    assert status == 200 and len(nonces) == 1 and policy.count(f"'nonce-{nonces.pop()}'") == 2
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff" and headers["Cache-Control"] == "no-store"
    assert not re.search(r"https?://|//[a-z]+\.", text)
    assert get(server, "/")[1] != page, "a nonce is used once"


def test_a_port_that_is_taken_is_said(server, pipeline):
    with pytest.raises(OSError, match=rf"port {server.server_port} cannot be used .*give another --port"):
        Demo(Workbench(pipeline, 1), server.server_port)


def test_ctrl_c_ends_the_command(pipeline, tmp_path, monkeypatch, capsys):
    pipeline.autoencoder.model.save_pretrained(tmp_path / "vae")
    pipeline.field.save_pretrained(tmp_path / "model")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    seen = []

    def interrupt():
        for _ in range(400):
            time.sleep(0.05)
            with suppress(OSError):
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
                connection.request("GET", "/")
                seen.append(connection.getresponse().read().decode())
                os.kill(os.getpid(), signal.SIGINT)
                return

    arguments = ["--port", port, "--model", tmp_path / "model", "--vae", tmp_path / "vae", "--max-megapixels", 0.01]
    monkeypatch.setattr(sys, "argv", ["fsr", "demo", *map(str, arguments)])
    visitor = threading.Thread(target=interrupt)
    visitor.start()
    with pytest.raises(SystemExit) as ended:
        cli.main()
    visitor.join()
    out, err = capsys.readouterr()
    assert not ended.value.code and f"open http://127.0.0.1:{port}/" in out and "Traceback" not in err
    assert "at most 0.01 megapixels" in seen[0] and '<option value="4">' in seen[0]
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), timeout=5)


@pytest.mark.parametrize(
    ("options", "message"),
    [(("--tile", "0"), "give auto, off"), (("--memory", "lots"), "such as 4GB"),
     (("--memory", "1GB", "--tile", "off"), "leave one of them out"), (("--model", "nowhere"), "no trained field")],
)  # fmt: skip
def test_the_command_says_what_is_wrong_in_a_line(monkeypatch, capsys, options, message):
    monkeypatch.setattr(sys, "argv", ["fsr", "demo", "--port", "0", *options])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    err = capsys.readouterr().err
    assert ended.value.code == 1 and err.startswith("error: ") and message in err and err.count("\n") == 1


@pytest.fixture(scope="module")
def downloads(tmp_path_factory):
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def browser(tmp_path_factory, downloads):
    yield from started(tmp_path_factory.mktemp("chromium"), downloads)


@pytest.fixture
def page(browser, server):
    browser.get_log("browser")
    browser.get(server.url)
    return browser


def state(page, *names: str) -> str:
    """The text of the page's state, once it is one of these."""
    waiting = pytest.importorskip("selenium.webdriver.support.ui").WebDriverWait(page, 20, 0.05)
    found = page.find_element("id", "state")
    waiting.until(lambda _: found.get_attribute("data-state") in names)
    return found.text


def choose(page, path, scale: int) -> None:
    support = pytest.importorskip("selenium.webdriver.support.ui")
    page.find_element("id", "file").send_keys(str(path))
    support.Select(page.find_element("id", "scale")).select_by_value(str(scale))
    page.find_element("id", "start").click()


def test_a_picture_goes_in_and_a_larger_one_comes_out(page, server, pipeline, downloads, tmp_path):
    keys = pytest.importorskip("selenium.webdriver").Keys
    path = tmp_path / "a name.v2.png"
    path.write_bytes(encoded(noise(30, 20)))
    choose(page, path, 4)
    assert "120×80 pixels" in state(page, "done", "failed")
    page.execute_async_script(
        "const done = arguments[0], images = [...document.querySelectorAll('.pictures img')];"
        "Promise.all(images.map((image) => image.decode())).then(() => done());"
    )
    sizes = (
        "return [...document.querySelectorAll('.pictures img')].map((each) => [each.naturalWidth, each.naturalHeight])"
    )
    assert page.execute_script(sizes) == [[120, 80], [120, 80]]
    assert [tag.text for tag in page.find_elements("css selector", ".tag")] == ["bicubic 4×", "FSR 4×"]
    stage, split = (page.find_element("css selector", name) for name in (".stage", ".split"))
    shots = {stage.screenshot_as_png}
    for key in (keys.HOME, keys.END):
        split.send_keys(key)
        shots.add(stage.screenshot_as_png)
    assert len(shots) == 3, "the slider moves what is seen"
    link = page.find_element("id", "download")
    link.click()
    saved = downloads / "a name.v2_x4.png"
    waiting = pytest.importorskip("selenium.webdriver.support.ui").WebDriverWait(page, 20, 0.05)
    waiting.until(lambda _: saved.is_file())
    at_scale = ImagePipeline(pipeline.autoencoder, pipeline.field, 4)
    expected = write_image(tmp_path / "expected.png", at_scale(read_image(path))).read_bytes()
    assert saved.read_bytes() == expected
    assert page.get_log("browser") == []


def test_errors_are_read_on_the_page(page, server, tmp_path):
    (tmp_path / "broken.png").write_bytes(encoded(noise(30, 20))[:500])
    choose(page, tmp_path / "broken.png", 2)
    assert "truncated or damaged" in state(page, "failed", "done")
    assert page.find_element("id", "start").is_enabled()
    (tmp_path / "wide.png").write_bytes(encoded(noise(SIDE + 1, SIDE)))
    choose(page, tmp_path / "wide.png", 2)
    page.execute_async_script("setTimeout(arguments[0], 200)")
    assert "65x64 pixels; at most" in state(page, "failed", "done")
    (tmp_path / "heavy.png").write_bytes(bytes(server.workbench.max_bytes + 1))
    choose(page, tmp_path / "heavy.png", 2)
    assert "heavy.png has 1.0 MiB; at most 1 MiB" in state(page, "failed", "done")
    with server.workbench.turn():
        (tmp_path / "good.png").write_bytes(encoded(noise(8, 8)))
        choose(page, tmp_path / "good.png", 2)
        page.execute_async_script("setTimeout(arguments[0], 200)")
        assert "another picture is being enlarged" in state(page, "failed", "done")
    page.find_element("id", "start").click()
    assert "16×16 pixels" in state(page, "done")


def test_while_a_picture_is_computed_it_says_how_far_and_shows_no_other(page, server, monkeypatch, tmp_path):
    waiting = pytest.importorskip("selenium.webdriver.support.ui").WebDriverWait(page, 20, 0.05)
    viewer, progress, told = (page.find_element("css selector", name) for name in (".viewer", "#progress", "#state"))
    leave, whole = threading.Event(), Workbench._enlarged

    def slow(bench, x_L, scale):
        bench.progress = 0.4
        assert leave.wait(20)
        return whole(bench, x_L, scale)

    (tmp_path / "good.png").write_bytes(encoded(noise(8, 8)))
    choose(page, tmp_path / "good.png", 2)
    state(page, "done")
    assert viewer.is_displayed() and not progress.is_displayed()
    monkeypatch.setattr(Workbench, "_enlarged", slow)
    page.find_element("id", "start").click()
    waiting.until(lambda _: "40 % done" in told.text)
    assert not viewer.is_displayed() and float(progress.get_attribute("value")) == 0.4
    leave.set()
    assert "16×16 pixels" in state(page, "done")
    assert viewer.is_displayed() and not progress.is_displayed()
    (tmp_path / "broken.png").write_bytes(encoded(noise(30, 20))[:500])
    choose(page, tmp_path / "broken.png", 2)
    state(page, "failed")
    assert not viewer.is_displayed(), "nothing that could be taken for the one that failed"


@pytest.mark.parametrize("width", [1280, 360])
def test_nothing_runs_off_the_side(page, width, tmp_path):
    (tmp_path / f"{'a long name ' * 10}.png").write_bytes(encoded(noise(SIDE, SIDE)))
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        choose(page, next(tmp_path.iterdir()), 4)
        state(page, "done")
        inside = page.execute_script("return document.documentElement.scrollWidth")
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert inside <= width


def test_a_picture_may_be_dropped(page):
    dropped = """
    const bytes = Uint8Array.from(arguments[0]), carried = new DataTransfer();
    carried.items.add(new File([bytes], "dropped.png", { type: "image/png" }));
    const over = new DragEvent("dragover", { dataTransfer: carried, bubbles: true, cancelable: true });
    document.getElementById("drop").dispatchEvent(over);
    const marked = document.getElementById("drop").classList.contains("over");
    const drop = new DragEvent("drop", { dataTransfer: carried, bubbles: true, cancelable: true });
    document.getElementById("drop").dispatchEvent(drop);
    return [marked, over.defaultPrevented];
    """
    assert page.execute_script(dropped, list(encoded(noise(10, 12)))) == [True, True]
    assert "dropped.png: 20×24 pixels" in state(page, "done", "failed")
