"""Downloads from a real local server that fails in every way asked of it."""

import email.utils
import functools
import hashlib
import logging
import shutil
import signal
import ssl
import subprocess
import sys
import time
import traceback
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving import MODIFIED, Fault, Server

from fsr.downloads import download, http
from fsr.files import write_json

BODY = functools.reduce(lambda have, _: have + hashlib.sha256(have).digest(), range(8000), b"")  # 256 kB of no pattern
SHA256 = hashlib.sha256(BODY).hexdigest()
OTHER = BODY[:1000] + bytes([BODY[1000] ^ 1]) + BODY[1001:]
fetch = functools.partial(download, pause=0.001, timeout=5.0)
fetch_registered = functools.partial(fetch, sha256=SHA256, size=len(BODY))
fetch_unregistered = functools.partial(fetch, sha256=None, size=None)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as running:
        yield running


@pytest.fixture
def target(tmp_path):
    return tmp_path / "sets" / "set.zip"


def starts(server, path="/set.zip"):
    return [request.start for request in server.asked(path)]


def left_over(target):
    return sorted(file.name for file in target.parent.iterdir() if file != target)


def test_a_file_comes_whole_and_leaves_nothing_beside_it(server, target):
    url = server.put("/set.zip", BODY)
    assert fetch_registered(url, target) == target
    assert target.read_bytes() == BODY
    assert left_over(target) == []
    assert server.requests[0].headers["Accept-Encoding"] == "identity"


def test_a_file_that_is_right_is_not_fetched_again_and_a_wrong_one_is(server, target):
    url = server.put("/set.zip", BODY)
    target.parent.mkdir()
    target.write_bytes(BODY)
    fetch_registered(url, target, sha256=SHA256.upper())
    fetch_unregistered(url, target)
    assert server.requests == []
    for known, wrong in (((SHA256, None), OTHER), ((None, len(BODY)), BODY[:-1])):
        target.write_bytes(wrong)
        fetch(url, target, sha256=known[0], size=known[1])
        assert target.read_bytes() == BODY


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("fetch_it", [fetch_registered, fetch_unregistered])
def test_cuts_cost_no_byte_twice_and_no_attempt_while_bytes_come(server, target, reset, fetch_it):
    cuts = [Fault(cut=40_000, reset=reset) for _ in range(4)]
    url = server.put("/set.zip", BODY, *cuts)
    fetch_it(url, target, attempts=2)
    assert target.read_bytes() == BODY
    assert starts(server)[0] == 0
    if not reset:  # a reset takes what the client has not read yet with it
        assert starts(server) == [0, 40_000, 80_000, 120_000, 160_000]
    assert {request.headers["If-Range"] for request in server.requests[1:]} == {
        server.files["/set.zip"].headers["ETag"]
    }


def test_a_server_that_brings_nothing_is_given_up_with_growing_pauses_and_what_came_is_kept(server, target):
    waits = []
    url = server.put("/set.zip", BODY, Fault(cut=50_000))
    server.always["/set.zip"] = Fault(cut=0)
    with pytest.raises(
        ConnectionError, match=r"set\.zip cannot be fetched: .*50000 bytes are kept\); check the network"
    ):
        fetch_registered(url, target, attempts=4, pause=1.0, sleep=waits.append)
    assert starts(server) == [0, 50_000, 50_000, 50_000, 50_000]
    assert all(full / 2 <= wait <= full for wait, full in zip(waits, [1, 1, 2, 4], strict=True))
    assert len(set(waits)) == len(waits), "jitter"
    del server.always["/set.zip"]
    fetch_registered(url, target)
    assert target.read_bytes() == BODY
    assert starts(server)[-1] == 50_000


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_a_busy_server_is_asked_again_when_it_says(server, target, status):
    waits = []
    url = server.put("/set.zip", BODY, Fault(status, {"Retry-After": "7"}), Fault(status, {"Retry-After": "soon"}))
    fetch_registered(url, target, sleep=waits.append)
    assert target.read_bytes() == BODY
    assert waits[0] == 7
    assert waits[1] < 1


def test_the_wait_asked_for_may_be_a_date_but_not_an_age(server, target):
    waits = []
    date = email.utils.formatdate(time.time() + 100, usegmt=True)
    url = server.put("/set.zip", BODY, Fault(503, {"Retry-After": date}), Fault(503, {"Retry-After": "5000"}))
    with pytest.raises(ConnectionError, match="503 and asks to wait 5000 s"):
        fetch_registered(url, target, sleep=waits.append)
    assert len(waits) == 1
    assert 95 <= waits[0] <= 100


@pytest.mark.parametrize(
    ("status", "kind", "remedy"),
    [
        (404, FileNotFoundError, "is not there"),
        (410, FileNotFoundError, "report its source"),
        (401, PermissionError, "may not be read"),
        (403, PermissionError, "see its terms"),
        (418, OSError, "cannot be fetched"),
        (204, OSError, "cannot be fetched"),
    ],
)
def test_a_refusal_is_final_at_once_and_says_what_to_do(server, target, status, kind, remedy):
    url = server.put("/set.zip", BODY, Fault(status))
    with pytest.raises(kind, match=remedy) as caught:
        fetch_registered(url, target)
    message = str(caught.value)
    assert url in message
    assert f"status {status}" in message
    assert f"fetch the file by hand to {target}" in message
    assert "\n" not in message
    assert len(server.requests) == 1


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/set.zip", "/a/path", "http:///set.zip"])
def test_what_is_not_a_web_address_is_refused(target, url):
    with pytest.raises(ValueError, match=r"is not an HTTP\(S\) URL; correct it"):
        fetch_registered(url, target)


def test_nobody_listening_is_one_line(target):
    with Server() as gone:
        url = gone.url
    with pytest.raises(ConnectionError, match="no connection to the server"):
        fetch_registered(f"{url}/set.zip", target, attempts=2)


def redirect(location):
    return Fault(302, {"Location": location})


def test_redirects_are_followed_also_when_going_on(server, target):
    server.put("/set.zip", BODY, Fault(cut=1000))
    url = server.put("/moved", b"")
    server.always["/moved"] = redirect("/set.zip?signature=1")
    fetch_registered(url, target)
    assert target.read_bytes() == BODY
    assert starts(server) == [0, 1000]


def test_a_circle_of_redirects_is_final(server, target):
    url = server.put("/here", b"")
    server.put("/there", b"")
    server.always |= {"/here": redirect("/there"), "/there": redirect("/here")}
    with pytest.raises(ConnectionError, match="redirects in a circle"):
        fetch_registered(url, target)
    assert len(server.requests) <= 12


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed; it makes the server's certificate")
    folder = tmp_path_factory.mktemp("tls")
    key, file = folder / "key.pem", folder / "certificate.pem"
    made = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1 -addext"
    paths = ["-keyout", key, "-out", file]
    subprocess.run(["openssl", *made.split(), "subjectAltName=IP:127.0.0.1", *paths], check=True, capture_output=True)
    return file, key


def test_https_is_followed_to_https_only(server, target, certificate, monkeypatch):
    file, key = certificate
    plain = server.put("/set.zip", BODY)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, key)
    secure = Server()
    secure.secure(context)
    with secure:
        secure.put("/down", b"", redirect(plain))
        secure.put("/set.zip", BODY, redirect("/same"))
        secure.put("/same", BODY)
        address = f"https://127.0.0.1:{secure.port}"
        with pytest.raises(ConnectionError, match="no TLS connection that can be trusted"):
            fetch_registered(f"{address}/set.zip", target, attempts=1)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(file))
        with pytest.raises(PermissionError, match="redirects from https to http, which is not followed"):
            fetch_registered(f"{address}/down", target)
        assert server.requests == []
        fetch_registered(f"{address}/set.zip", target)
    assert target.read_bytes() == BODY


def test_a_redirect_to_another_scheme_is_not_followed(server, target):
    url = server.put("/set.zip", BODY, redirect("file:///etc/passwd"))
    with pytest.raises(PermissionError, match="redirects from http to file"):
        fetch_registered(url, target)


def test_a_server_that_knows_no_ranges_starts_over(server, target):
    url = server.put("/set.zip", BODY, Fault(cut=50_000), Fault(ignore=("Range",)))
    fetch_registered(url, target)
    assert target.read_bytes() == BODY
    assert starts(server) == [0, 50_000]


def test_a_server_that_knows_no_ranges_and_always_fails_is_given_up(server, target):
    url = server.put("/set.zip", BODY)
    server.always["/set.zip"] = Fault(cut=50_000, ignore=("Range",))
    with pytest.raises(ConnectionError, match=r"the connection was cut \(50000 bytes are kept\)"):
        fetch_registered(url, target, attempts=3)
    assert len(server.requests) == 4


@pytest.mark.parametrize("headers", [{}, {"ETag": None}, {"ETag": 'W/"weak"'}])
@pytest.mark.parametrize("honest", [True, False])
def test_a_file_that_changes_on_the_way_starts_over(server, target, headers, honest):
    url = server.put("/set.zip", OTHER, Fault(cut=50_000), **headers)

    def change(_):
        changed = {"Last_Modified": "Thu, 22 Oct 2015 07:28:00 GMT", **headers}
        server.put("/set.zip", BODY, Fault(ignore=() if honest else ("If-Range",)), **changed)

    fetch_unregistered(url, target, sleep=change)
    assert target.read_bytes() == BODY
    assert starts(server)[:2] == [0, 50_000]


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_a_version_that_is_only_nearly_one_is_asked_for_by_its_date(server, target, etag):
    url = server.put("/set.zip", BODY, Fault(cut=50_000), ETag=etag)
    fetch_unregistered(url, target)
    assert starts(server) == [0, 50_000]
    assert server.requests[1].headers["If-Range"] == MODIFIED


def test_without_a_version_to_ask_for_only_a_registered_sum_lets_halves_be_joined(server, target, tmp_path):
    nameless = {"ETag": None, "Last_Modified": None}
    url = server.put("/set.zip", BODY, Fault(cut=50_000), **nameless)
    fetch_unregistered(url, target)
    assert starts(server) == [0, 0]
    server.put("/set.zip", BODY, Fault(cut=50_000), **nameless)
    fetch_registered(url, tmp_path / "again.zip")
    assert starts(server) == [0, 0, 0, 50_000]


@pytest.mark.parametrize("told", ["bytes 40000-255999/256000", "bytes 0-9/10", "nonsense", None])
def test_another_range_than_asked_for_starts_over(server, target, told):
    url = server.put("/set.zip", BODY, Fault(cut=50_000), Fault(headers={"Content-Range": told}))
    fetch_registered(url, target)
    assert target.read_bytes() == BODY
    assert starts(server) == [0, 50_000, 0]


def part_of(target, body, **origin):
    target.parent.mkdir(exist_ok=True)
    target.with_name("set.zip.part").write_bytes(body)
    if origin:
        write_json(target.with_name("set.zip.part.json"), origin)


def test_a_whole_part_is_taken_as_it_is(server, target):
    url = server.put("/set.zip", BODY)
    part_of(target, BODY)
    fetch_registered(url, target)
    assert server.requests == []
    target.unlink()
    part_of(target, BODY)
    fetch(url, target, sha256=SHA256, size=None)
    assert starts(server) == [len(BODY)]
    assert target.read_bytes() == BODY


def test_a_part_that_cannot_be_right_is_dropped(server, target):
    url = server.put("/set.zip", BODY)
    part_of(target, BODY + b"more")
    fetch_registered(url, target)
    assert starts(server) == [0]
    target.unlink()
    part_of(target, BODY + b"more")
    fetch(url, target, sha256=SHA256, size=None)
    assert starts(server) == [0, len(BODY) + 4, 0]
    target.unlink()
    part_of(target, BODY + b"more", url=url, ETag=server.files["/set.zip"].headers["ETag"])
    fetch_unregistered(url, target)
    assert target.read_bytes() == BODY
    server.requests.clear()
    target.unlink()
    part_of(target, OTHER[:5000], url="https://elsewhere/set.zip", ETag=server.files["/set.zip"].headers["ETag"])
    fetch_unregistered(url, target)
    assert starts(server) == [0]
    assert target.read_bytes() == BODY


def test_a_part_with_a_wrong_byte_is_found_and_fetched_afresh(server, target):
    url = server.put("/set.zip", BODY)
    part_of(target, OTHER[:5000])
    fetch_registered(url, target)
    assert starts(server) == [5000, 0]
    assert target.read_bytes() == BODY


def test_a_wrong_byte_is_fetched_afresh_once_and_then_named(server, target, caplog):
    url = server.put("/set.zip", BODY, Fault(body=OTHER))
    fetch_registered(url, target)
    assert target.read_bytes() == BODY
    assert "fetching it afresh" in caplog.text
    target.unlink()
    server.put("/set.zip", OTHER)
    server.requests.clear()
    with pytest.raises(
        ValueError, match=r"is not the file expected: SHA-256 .*report that the source changed"
    ) as caught:
        fetch_registered(url, target)
    assert hashlib.sha256(OTHER).hexdigest() in str(caught.value)
    assert SHA256 in str(caught.value)
    assert starts(server) == [0, 0]
    assert not target.exists()
    assert left_over(target) == []


def test_a_wrong_file_never_takes_a_right_ones_place(server, target):
    url = server.put("/set.zip", OTHER)
    target.parent.mkdir()
    target.write_bytes(b"what stood there")
    with pytest.raises(ValueError, match="is not the file expected"):
        fetch_registered(url, target)
    assert target.read_bytes() == b"what stood there"


@pytest.mark.parametrize("length", [len(BODY) - 10, len(BODY) + 10])
@pytest.mark.parametrize("size", [len(BODY), None])
def test_a_wrong_length_never_passes(server, target, length, size):
    url = server.put("/set.zip", BODY)
    server.always["/set.zip"] = Fault(headers={"Content-Length": str(length)}, cut=len(BODY), ignore=("Range",))
    with pytest.raises((ValueError, ConnectionError), match="expected|the connection was cut"):
        fetch(url, target, sha256=SHA256, size=size, attempts=2)
    assert not target.exists()


def test_without_a_length_a_cut_is_found_by_the_registered_size_or_sum(server, target):
    url = server.put("/set.zip", BODY, *[Fault(headers={"Content-Length": None}, cut=50_000)] * 2)
    fetch(url, target, sha256=None, size=len(BODY))
    assert target.read_bytes() == BODY
    target.unlink()
    server.put("/set.zip", BODY, Fault(headers={"Content-Length": None}, cut=50_000))
    fetch(url, target, sha256=SHA256, size=None)
    assert target.read_bytes() == BODY
    target.unlink()
    server.put("/set.zip", BODY, Fault(headers={"Content-Length": None}))
    with pytest.raises(ValueError, match="does not tell its length, nor where it ends; give its size or SHA-256"):
        fetch_unregistered(url, target)
    assert not target.exists()


def test_chunks_tell_where_they_end(server, target):
    coded = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
    chunked = {"Content-Length": None, "Transfer-Encoding": "chunked"}
    url = server.put("/set.zip", BODY, Fault(headers=chunked, body=coded, cut=len(coded)))
    fetch_unregistered(url, target)
    assert target.read_bytes() == BODY
    target.unlink()
    server.put("/set.zip", BODY, Fault(headers=chunked, body=coded, cut=70_000))
    fetch_unregistered(url, target)
    assert target.read_bytes() == BODY


def test_more_than_expected_is_stopped_early(server, target):
    url = server.put("/set.zip", BODY)
    server.always["/set.zip"] = Fault(headers={"Content-Length": None}, body=BODY * 3)
    with pytest.raises(ValueError, match=f"more than {len(BODY)} bytes"):
        fetch_registered(url, target)
    assert left_over(target) == []


def test_an_empty_file_is_a_file(server, target):
    fetch(server.put("/set.zip", b""), target, sha256=hashlib.sha256(b"").hexdigest(), size=0)
    assert target.read_bytes() == b""


def test_bytes_are_kept_as_sent_whatever_coding_they_are_said_to_have(server, target):
    url = server.put("/set.tgz", BODY, Content_Encoding="x-gzip")
    fetch_registered(url, target)
    assert target.read_bytes() == BODY


def test_a_silent_server_is_left_and_asked_for_the_rest(server, target):
    url = server.put("/set.zip", BODY, Fault(hold=1 << 16))
    began = time.monotonic()
    fetch_registered(url, target, timeout=0.2)
    assert time.monotonic() - began < 3
    assert target.read_bytes() == BODY
    assert starts(server) == [0, 1 << 16]


def test_a_server_silent_for_good_is_named(server, target):
    url = server.put("/set.zip", BODY)
    server.always["/set.zip"] = Fault(hold=0)
    with pytest.raises(ConnectionError, match="the server is silent"):
        fetch_registered(url, target, timeout=0.1, attempts=2)


PROGRAM = """
import sys
from fsr.downloads import download
url, target, sha256, size = sys.argv[1:]
download(url, target, sha256=sha256 or None, size=int(size) if size else None)
"""


@pytest.mark.parametrize("known", [(SHA256, str(len(BODY))), ("", "")])
def test_a_killed_run_is_gone_on_from_and_only_what_is_missing_is_asked_for(server, target, known):
    url = server.put("/set.zip", BODY, Fault(hold=100_000))
    part = target.with_name("set.zip.part")
    with subprocess.Popen([sys.executable, "-c", PROGRAM, url, target, *known], stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 20
        while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.01)
        with pytest.raises(BlockingIOError, match="being fetched by another process; wait for it, or end it"):
            fetch_registered(url, target)
        process.send_signal(signal.SIGKILL)
    assert not target.exists()
    came = part.stat().st_size
    assert 0 < came <= 100_000
    fetch(url, target, sha256=known[0] or None, size=int(known[1]) if known[1] else None)
    assert target.read_bytes() == BODY
    assert starts(server) == [0, came]
    assert left_over(target) == []


def test_credentials_reach_the_server_and_nothing_else(server, target, caplog):
    caplog.set_level(logging.DEBUG, logger="fsr")
    path = server.put("/set.zip", OTHER, Fault(cut=1000), Fault(503)).removeprefix("http://")
    url = f"http://reader:hushhush@{path}?token=hushhush"
    server.always["/set.zip"] = Fault(cut=0)
    with pytest.raises(ConnectionError) as cut:
        fetch_registered(url, target, attempts=2)
    written = [file.read_text(errors="replace") for file in target.parent.iterdir()]
    assert any("set.zip" in text for text in written)
    server.always["/set.zip"] = Fault(404)
    with pytest.raises(FileNotFoundError) as gone:
        fetch_registered(url, target)
    del server.always["/set.zip"]
    with pytest.raises(ValueError, match="set.zip") as wrong:
        fetch_registered(url, target)
    with Server() as stopped:
        nowhere = url.replace(str(server.port), str(stopped.port))
    with pytest.raises(ConnectionError) as nobody:
        fetch_registered(nowhere, target, attempts=1)
    shown = ["".join(traceback.format_exception(error.value)) for error in (cut, gone, wrong, nobody)]
    for text in [*shown, *written, caplog.text]:
        assert "hushhush" not in text
    assert all(request.headers["Authorization"].startswith("Basic ") for request in server.requests)
    assert server.requests[0].path.endswith("?token=hushhush")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is always full")
def test_a_full_disk_is_named(server, target):
    url = server.put("/set.zip", BODY)
    target.parent.mkdir()
    target.with_name("set.zip.part").symlink_to("/dev/full")
    with pytest.raises(
        OSError, match=r"cannot write .*set\.zip\.part: the disk is full; free some space and run again"
    ):
        fetch_registered(url, target)


def test_a_folder_that_cannot_be_made_is_named_before_anything_is_asked_for(server, target):
    url = server.put("/set.zip", BODY)
    target.parent.write_text("a file")
    with pytest.raises(OSError, match="a file stands where a folder is needed"):
        fetch_registered(url, target)
    assert server.requests == []


faults = st.one_of(
    st.builds(Fault, cut=st.integers(0, len(BODY)), reset=st.booleans(), ignore=st.sampled_from([(), ("Range",)])),
    st.builds(Fault, cut=st.integers(0, len(BODY)), body=st.just(OTHER)),
    st.builds(Fault, status=st.sampled_from([429, 500, 503])),
    st.builds(Fault, headers=st.fixed_dictionaries({"Content-Range": st.sampled_from([None, "bytes 7-8/9"])})),
    st.builds(Fault, ignore=st.just(("If-Range",))),
)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=st.lists(faults, max_size=6), registered=st.booleans())
def test_whatever_goes_wrong_the_file_is_right_or_not_there(server, tmp_path, plan, registered):
    target = tmp_path / "set.zip"
    target.unlink(missing_ok=True)
    url = server.put("/set.zip", BODY, *plan)
    lies = sum(fault.body is not None for fault in plan)  # under the right file's ETag: only the sum can tell
    sha256 = SHA256 if registered else None
    try:
        fetch(url, target, sha256=sha256, size=len(BODY), attempts=20, pause=0.0)
    except ValueError:
        assert lies >= 2, "one lie is forgiven"
        assert list(tmp_path.iterdir()) == []
    else:
        assert target.stat().st_size == len(BODY)
        assert target.read_bytes() == BODY or (lies and not registered)


def test_progress_is_told_in_bytes(server, target, capsys, monkeypatch):
    monkeypatch.setattr(http, "tqdm", functools.partial(http.tqdm, mininterval=0))
    fetch_registered(server.put("/set.zip", BODY, Fault(cut=128_000)), target)
    shown = capsys.readouterr().err
    assert "set.zip" in shown
    assert "256k/256k" in shown
    assert " 50%" in shown
