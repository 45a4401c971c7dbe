"""DVC's cache with the real DVC: damaged objects, links to them, and two runs at once."""

import os
import re
import signal
import stat
import time
from pathlib import Path

import pytest
from dvc_repository import Repository, copy, damage, damaged, object_of, objects

SNAKEFILE = """
rule make:
    output:
        "out/one.json",
        "out/two.txt",
        "table.csv",
    shell:
        "python make.py"
"""
SLOW = """
stages:
  slow:
    cmd: touch started && while ! test -e go; do sleep 0.02; done && echo done > slow.txt
    outs: [slow.txt]
"""


def state(store: Path) -> dict[str, tuple]:
    """Bytes, mode and time of every file below a cache."""
    files = [file for file in store.rglob("*") if file.is_file()]
    return {str(file): (file.read_bytes(), file.stat().st_mode, file.stat().st_mtime_ns) for file in files}


def test_a_whole_cache_is_whole_and_stays_as_it_is(origin):
    (origin.cache / "files/md5/00").mkdir(exist_ok=True)
    (origin.cache / "files/md5/00/.Qm9ndXM.tmp").write_bytes(b"left by an interrupted pull")
    before = state(origin.cache)
    assert origin.check() == origin.check("--remote", "store") == "every object is whole\n"
    assert state(origin.cache) == before


def test_a_damaged_object_of_the_cache_is_handed_out_and_named_and_pulled_again(origin):
    whole = origin.contents("out", "table.csv", "final.txt")
    file = object_of(origin.cache, b"two 1\n")
    changed = damage(file)
    (origin.folder / "out/two.txt").unlink()
    origin.dvc("checkout")
    assert origin.contents("out/two.txt") == {"out/two.txt": changed}, "DVC trusts a read-only file"
    assert "up to date" in origin.dvc("status")
    before = state(origin.cache)
    said = origin.check(code=1)
    assert said.startswith(f"damaged: out/two.txt; delete {file}, then run `dvc pull`")
    assert len(said.splitlines()) == 1
    assert state(origin.cache) == before
    file.unlink()
    origin.dvc("pull")
    assert origin.contents("out/two.txt") == {"out/two.txt": changed}, "why the remedy has a second step"
    origin.dvc("checkout", "--relink")
    assert origin.contents("out", "table.csv", "final.txt") == whole
    assert damaged(origin.cache) == []
    assert "up to date" in origin.dvc("status")


def test_without_a_remote_repro_makes_a_damaged_object_again(origin):
    whole = origin.contents("out", "table.csv", "final.txt")
    file = object_of(origin.cache, b"two 1\n")
    for place in (file, origin.folder / "out/two.txt"):
        damage(place)
    file.unlink()
    assert "Running stage 'make'" in origin.dvc("repro")
    assert origin.contents("out", "table.csv", "final.txt") == whole
    assert damaged(origin.cache) == []


def test_dvc_itself_sees_a_damaged_object_only_while_it_is_writable(origin):
    file = object_of(origin.cache, b"two 1\n")
    damage(file)
    file.chmod(0o644)
    assert "not in cache" in origin.dvc("status")
    assert not file.exists(), "DVC deletes what it finds damaged"
    assert "1 file fetched" in origin.dvc("pull")
    assert damaged(origin.cache) == []


def test_everything_that_a_damaged_object_stands_for_is_named(origin):
    listing = next(file for name, file in objects(origin.cache).items() if name.endswith(".dir"))
    damage(listing)
    damage(object_of(origin.cache, b"value\n1\n"))
    stray = origin.cache / "files/md5/00" / ("0" * 30)
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"of another commit")
    said = origin.check(code=1)
    assert len(said.splitlines()) == 3
    assert f"damaged: out (the list of its files); delete {listing}," in said
    assert f"damaged: no path of this commit; delete {stray}," in said
    assert "damaged: table.csv;" in said


def test_what_cannot_be_read_is_no_damage(origin, tmp_path):
    assert "not inside of a DVC repository" in Repository(tmp_path, origin.environment).check(code=2)
    assert "'elsewhere' doesn't exist" in origin.check("--remote", "elsewhere", code=2)


@pytest.mark.parametrize("kind", ["hardlink", "symlink", "reflink,copy"])
def test_a_rule_that_writes_a_linked_output_again_leaves_the_cache_whole(origin, kind):
    """Even as root, whom no read-only file stops: a new file takes the name, and nothing is written into the old."""
    relink(origin, kind)
    before = state(origin.cache)
    origin.write({"value": "2\n"})
    origin.run("python", "make.py")
    assert origin.contents("out/two.txt", "table.csv") == {"out/two.txt": b"two 2\n", "table.csv": b"value\n2\n"}
    assert state(origin.cache) == before
    modified = re.findall(r"modified: +(\S+)$", origin.dvc("status"), flags=re.MULTILINE)
    assert {"out", "table.csv", "value"} == set(modified)
    assert "Running stage 'make'" in origin.dvc("repro")
    assert origin.contents("final.txt") == {"final.txt": b"two 2\nvalue\n2\n"}
    assert before.items() <= state(origin.cache).items(), "what stood in the cache still stands there"
    assert damaged(origin.cache) == []


def test_snakemakes_touch_leaves_the_cache_whole_and_dvc_content(origin):
    """A hard link shares its times with the object; a symbolic link has times of its own."""
    relink(origin, "hardlink")
    origin.configure("cache", type="symlink")
    origin.dvc("checkout", "--relink", "table.csv")
    files = [origin.folder / name for name in ("out/two.txt", "table.csv")]
    assert [(file.is_symlink(), file.stat().st_nlink) for file in files] == [(False, 2), (True, 1)]
    before = [file.lstat().st_mtime_ns for file in files]
    origin.write({"Snakefile": SNAKEFILE})
    origin.run("snakemake", "--touch", "--forceall", "--cores", "1", "make")
    assert all(file.lstat().st_mtime_ns > time for file, time in zip(files, before, strict=True))
    assert damaged(origin.cache) == []
    assert "up to date" in origin.dvc("status")


def relink(repository: Repository, kind: str) -> None:
    """Link a repository's outputs to its cache in one of DVC's ways, and see that they are."""
    repository.configure("cache", type=kind)
    repository.dvc("checkout", "--relink")
    file = repository.folder / "out/two.txt"
    shares = file.samefile(object_of(repository.cache, b"two 1\n"))
    assert shares == (kind != "reflink,copy")
    assert file.is_symlink() == (kind == "symlink")
    assert bool(file.stat().st_mode & stat.S_IWUSR) == (not shares), "a link is read-only, as the object is"


def test_a_program_that_writes_into_a_hard_link_does_damage_and_is_found_out(origin):
    """What the atomic writer is for."""
    relink(origin, "hardlink")
    if not os.access(origin.folder / "table.csv", os.W_OK):
        pytest.skip("a read-only file stops everybody but root")
    (origin.folder / "table.csv").write_text("spoilt\n")
    assert len(damaged(origin.cache)) == 1
    assert "damaged: table.csv;" in origin.check(code=1)


@pytest.fixture
def running(empty, tmp_path):
    """A repository in which `dvc repro` waits for a file `go`, and its process."""
    repository = copy(empty, tmp_path / "slow")
    repository.write({"dvc.yaml": SLOW})
    process = repository.start("dvc", "repro")
    deadline = time.monotonic() + 30
    while not (repository.folder / "started").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    yield repository, process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_second_repro_is_refused_and_says_by_whom(running):
    repository, process = running
    said = repository.dvc("repro", code=None)
    assert "slow.txt" in said
    assert "is busy" in said
    assert f"PID {process.pid}" in said
    assert "Running stage" not in said
    (repository.folder / "go").touch()
    assert process.wait(timeout=30) == 0, "the first was not disturbed"
    assert (repository.folder / "slow.txt").read_text() == "done\n"


def test_after_a_killed_repro_the_next_one_works(running):
    repository, process = running
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    (repository.folder / "go").touch()
    assert "Running stage 'slow'" in repository.dvc("repro")
    assert (repository.folder / "slow.txt").read_text() == "done\n"
