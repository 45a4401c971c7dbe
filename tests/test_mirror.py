import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from fsr.mirror import check_against_manifest, mirror_root

FILES = ("datasets/Set5/HR/baby.png", "datasets/Set5/HR/bird ä.png", "datasets/Set14/HR/baboon.png", "vae/taef2/a.pth")


@pytest.fixture
def mirror(tmp_path) -> Path:
    """Four files and their manifest."""
    for file in FILES:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(f"content of {file}")
    write_manifest(tmp_path, "{digest}  ./{file}\n")
    return tmp_path


def write_manifest(mirror: Path, line: str) -> None:
    digests = {file: hashlib.sha256((mirror / file).read_bytes()).hexdigest() for file in FILES}
    text = "".join(line.format(digest=digest, DIGEST=digest.upper(), file=file) for file, digest in digests.items())
    (mirror / "MANIFEST.sha256").write_text(text, encoding="utf-8")


def set5(mirror: Path) -> list[Path]:
    return sorted((mirror / "datasets/Set5/HR").iterdir())


def refusal(mirror: Path, kind: type[Exception]) -> str:
    """What it says of Set5, which is one line."""
    with pytest.raises(kind) as caught:
        check_against_manifest(mirror, set5(mirror))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_setting_names_the_mirror_or_else_the_environment(tmp_path, monkeypatch):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    monkeypatch.delenv("FSR_MIRROR", raising=False)
    assert mirror_root() is None
    monkeypatch.setenv("FSR_MIRROR", str(tmp_path / "one"))
    assert mirror_root() == tmp_path / "one"
    assert mirror_root(str(tmp_path / "two")) == tmp_path / "two"
    monkeypatch.setenv("FSR_MIRROR", "")
    assert mirror_root() is None


@pytest.mark.parametrize("by_setting", [True, False])
def test_a_mirror_that_is_no_folder_is_an_error_and_not_the_same_as_none(mirror, monkeypatch, by_setting):
    for place in (mirror / "nowhere", mirror / "MANIFEST.sha256"):
        monkeypatch.setenv("FSR_MIRROR", str(mirror if by_setting else place))
        with pytest.raises(FileNotFoundError, match=f"^the mirror {re.escape(str(place))} is not a folder; correct"):
            mirror_root(str(place) if by_setting else None)


@pytest.mark.parametrize(
    "line", ["{digest}  ./{file}\n", "{digest}  {file}\n", "{digest} *{file}\n", "{DIGEST}  ./{file}\r\n"]
)
def test_whole_files_pass_in_every_form_of_the_manifest(mirror, line):
    write_manifest(mirror, line)
    check_against_manifest(mirror, set5(mirror))
    (mirror / FILES[0]).write_text("another")
    assert "does not match" in refusal(mirror, ValueError)


def test_a_changed_byte_is_found(mirror):
    body = (mirror / FILES[1]).read_bytes()
    (mirror / FILES[1]).write_bytes(bytes([body[0] ^ 1]) + body[1:])
    expected = f"{mirror / FILES[1]} does not match the mirror's MANIFEST.sha256; copy it again"
    assert refusal(mirror, ValueError) == expected


def test_a_file_that_is_not_listed_is_refused(mirror):
    extra = mirror / "datasets/Set5/HR/extra.png"
    extra.write_text("content")
    assert refusal(mirror, ValueError).startswith(f"{extra} is not in the mirror's MANIFEST.sha256; remove it, or list")


def test_a_listed_file_that_is_missing_is_named(mirror):
    (mirror / FILES[0]).unlink()
    expected = f"{mirror / FILES[0]} is in the mirror's MANIFEST.sha256 and missing; copy it again"
    assert refusal(mirror, FileNotFoundError) == expected


def test_other_sets_are_left_alone(mirror):
    (mirror / FILES[2]).unlink()
    (mirror / FILES[3]).write_text("another")
    check_against_manifest(mirror, set5(mirror))


def test_a_mirror_without_a_manifest_is_refused_with_the_command_that_makes_one(mirror):
    (mirror / "MANIFEST.sha256").unlink()
    message = refusal(mirror, FileNotFoundError)
    assert str(mirror / "MANIFEST.sha256") in message
    if shutil.which("sha256sum") is None:
        pytest.skip("the command that the message names is not on this machine")
    subprocess.run(message.partition("with: ")[2], shell=True, cwd=mirror, check=True)
    check_against_manifest(mirror, set5(mirror))
    (mirror / FILES[0]).write_text("another")
    assert "does not match" in refusal(mirror, ValueError)


@pytest.mark.parametrize(
    "line",
    [
        b"<!DOCTYPE html>",
        b"\xff\xfe\x00\x89PNG",
        b"d41d8cd98f00b204e9800998ecf8427e  datasets/Set5/HR/baby.png",
        b"z" * 64 + b"  datasets/Set5/HR/baby.png",
        b"0" * 64,
        b"0" * 64 + b" datasets/Set5/HR/baby.png",
    ],
)
def test_a_garbled_manifest_is_refused_whatever_else_it_holds(mirror, line):
    manifest = mirror / "MANIFEST.sha256"
    manifest.write_bytes(manifest.read_bytes() + line + b"\n")
    message = refusal(mirror, ValueError)
    assert message.startswith(f"{manifest} has a line that sha256sum did not write: ")
    assert message.endswith("; make it again")


def test_a_manifest_that_is_mended_counts_at_once(mirror):
    (mirror / FILES[0]).write_text("another")
    refusal(mirror, ValueError)
    write_manifest(mirror, "{digest}  ./{file}\n")
    check_against_manifest(mirror, set5(mirror))
