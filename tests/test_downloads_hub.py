"""The hub's own client against a local server that answers as the hub does."""

import functools
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from huggingface_hub import constants
from serving import COMMIT, Fault, Server

from fsr.downloads import download_from_hub

BODY = b"images" * 5000
OTHER = BODY[:1000] + b"!" + BODY[1001:]
SHA256 = hashlib.sha256(BODY).hexdigest()
GIT_SHA1 = hashlib.sha1(b"blob %d\0" % len(BODY) + BODY).hexdigest()
NAME = "set.zip of dataset org/sets"
fetch = functools.partial(download_from_hub, "org/sets", "set.zip")


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A server the hub's client takes for the hub, an empty cache, and no pauses between its attempts."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HF_TOKEN", "hf_hushhush")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with Server() as running:
        answer_at(monkeypatch, running.url)
        yield running


def answer_at(monkeypatch, url):
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")


def fetched(server, path):
    return sum(request.method == "GET" for request in server.asked(path))


@pytest.mark.parametrize("etag", [SHA256, GIT_SHA1])
@pytest.mark.parametrize("repo_type", ["dataset", "model"])
def test_a_file_is_checked_by_what_the_hub_tells_of_it_and_kept(hub, etag, repo_type):
    path = hub.put_hub_file("org/sets", "HR/set.zip", BODY, etag=etag, repo_type=repo_type)
    found = download_from_hub("org/sets", "HR/set.zip", repo_type=repo_type)
    assert found.read_bytes() == BODY
    assert COMMIT in found.parts
    assert download_from_hub("org/sets", "HR/set.zip", repo_type=repo_type) == found
    assert fetched(hub, path) == 1


@pytest.mark.parametrize("etag", [SHA256, GIT_SHA1])
@pytest.mark.parametrize("links", [True, False])
def test_a_wrong_byte_is_found_after_a_second_fetch(hub, monkeypatch, etag, links):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_SYMLINKS", not links)
    path = hub.put_hub_file("org/sets", "set.zip", OTHER, etag=etag)
    with pytest.raises(ValueError, match=f"{NAME} is not the file expected: .*expected {etag}; report that the source"):
        fetch()
    assert fetched(hub, path) == 2


def test_a_wrong_byte_on_the_way_is_mended(hub):
    path = hub.put_hub_file("org/sets", "set.zip", BODY, etag=SHA256)
    hub.faults[path].extend([Fault(), Fault(body=OTHER)])  # the HEAD and the GET of the first fetch
    assert fetch().read_bytes() == BODY
    assert fetched(hub, path) == 2


def test_a_cut_connection_is_mended(hub):
    path = hub.put_hub_file("org/sets", "set.zip", BODY, etag=SHA256)
    hub.faults[path].extend([Fault(), *[Fault(cut=10_000)] * 3])
    assert fetch().read_bytes() == BODY


def test_what_is_registered_counts_more_than_what_the_hub_tells(hub):
    other_sha256 = hashlib.sha256(OTHER).hexdigest()
    hub.put_hub_file("org/sets", "set.zip", OTHER, etag=other_sha256)
    with pytest.raises(ValueError, match=f"SHA-256 {other_sha256}, expected {SHA256}"):
        fetch(sha256=SHA256)
    with pytest.raises(ValueError, match=f"{len(OTHER)} bytes, expected 5"):
        fetch(size=5)
    assert fetch(sha256=other_sha256.upper(), size=len(OTHER), revision=COMMIT).read_bytes() == OTHER


def test_a_registered_size_alone_does_not_vouch(hub):
    hub.put_hub_file("org/sets", "set.zip", OTHER, etag=SHA256)
    with pytest.raises(ValueError, match=f"expected {SHA256}"):
        fetch(size=len(OTHER))


def test_a_file_nothing_can_vouch_for_is_refused(hub):
    hub.put_hub_file("org/sets", "set.zip", BODY, etag="abc")
    with pytest.raises(ValueError, match=f"{NAME} has no checksum of the hub's; register its SHA-256"):
        fetch()
    assert fetch(sha256=SHA256).read_bytes() == BODY


@pytest.mark.parametrize(
    ("code", "status", "kind", "told"),
    [
        ("EntryNotFound", 404, FileNotFoundError, "the repository has no such file; correct its name"),
        ("RepoNotFound", 404, FileNotFoundError, "the hub has no such repository, or it is private"),
        ("RevisionNotFound", 404, FileNotFoundError, "the repository has no such revision; correct it"),
        ("GatedRepo", 403, PermissionError, "is gated; accept its terms on the hub, then set HF_TOKEN"),
        ("", 401, ConnectionError, "the hub answers 401; check HF_TOKEN"),
        ("", 503, ConnectionError, "no hub within reach at http://127.0.0.1"),
    ],
)
def test_a_refusal_is_one_line_with_a_remedy(hub, code, status, kind, told):
    path = "/datasets/org/sets/resolve/main/set.zip"
    hub.always[path] = Fault(status, {"X-Error-Code": code})
    with pytest.raises(kind, match=told) as caught:
        fetch()
    assert str(caught.value).startswith(NAME)
    assert "\n" not in str(caught.value)
    assert "hushhush" not in str(caught.value)
    assert hub.asked(path)[0].headers["Authorization"] == "Bearer hf_hushhush"


def test_a_file_that_can_be_seen_but_not_had_is_one_line(hub):
    path = hub.put_hub_file("org/sets", "set.zip", BODY, etag=SHA256)
    hub.faults[path].extend([Fault(), Fault(500)])
    with pytest.raises(ConnectionError, match=f"{NAME}: the hub answers 500; check HF_TOKEN, or run again later"):
        fetch()


def test_a_full_disk_is_named(hub, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fsr.downloads.hub.hf_hub_download", full)
    with pytest.raises(OSError, match=f"cannot write {NAME} to .*cache: the disk is full; free some space"):
        fetch()


def test_offline_by_the_environment_is_offline(hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(FileNotFoundError, match="is not in the hub's cache"):
        fetch()
    assert hub.requests == []


def test_offline_the_cache_is_enough_and_is_checked(hub):
    path = hub.put_hub_file("org/sets", "set.zip", BODY, etag=SHA256)
    with pytest.raises(FileNotFoundError, match=f"{NAME} is not in the hub's cache; run once online, or set HF_HOME"):
        fetch(offline=True)
    found = fetch()
    hub.requests.clear()
    assert fetch(offline=True) == found
    found.resolve().write_bytes(OTHER)
    with pytest.raises(ValueError, match="is not the file expected: .*; run again online"):
        fetch(offline=True)
    assert hub.asked(path) == []
    assert fetch().read_bytes() == BODY


def test_offline_without_links_only_a_registered_sum_vouches(hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_SYMLINKS", True)
    hub.put_hub_file("org/sets", "set.zip", BODY, etag=SHA256)
    fetch()
    with pytest.raises(ValueError, match="register its SHA-256"):
        fetch(offline=True)
    assert fetch(offline=True, sha256=SHA256).read_bytes() == BODY


def test_a_hub_out_of_reach_is_said_unless_the_cache_has_the_file(hub, monkeypatch, tmp_path):
    hub.put_hub_file("org/sets", "set.zip", BODY, etag=SHA256)
    cached = fetch()
    with Server() as stopped:
        answer_at(monkeypatch, stopped.url.replace("//", "//reader:hushhush@"))
    assert fetch() == cached
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "empty"))
    with pytest.raises(ConnectionError, match=f"{NAME}: no hub within reach at http://127.0.0.1") as caught:
        fetch()
    assert "hushhush" not in str(caught.value)


PROGRAM = """
import sys
from fsr.downloads import download_from_hub
print(download_from_hub("org/sets", "set.zip"))
"""


def test_the_hubs_environment_is_heeded(hub, tmp_path):
    path = hub.put_hub_file("org/sets", "set.zip", BODY, etag=SHA256)
    clean = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    home = clean | {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")}
    for environment, asked in ((home, 2), (home | {"HF_HUB_OFFLINE": "1"}, 0)):
        hub.requests.clear()
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
        )
        found = Path(done.stdout.strip())
        assert found.read_bytes() == BODY
        assert tmp_path / "home" in found.parents
        assert len(hub.asked(path)) == asked
