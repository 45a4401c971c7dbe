"""Data to a remote and back with the real DVC: a folder of this machine, and a real sshd."""

import os
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from dvc_repository import STORE, Repository, copy, damage, damaged, interrupt, object_of, objects

OUTS = ("out", "table.csv", "final.txt")
OBJECTS = 5  # of the finished repository: four files and the list of a folder
IN_BULK = 25  # likewise of the bulky one
SECRET = r"^\s*\w*(?:password|passphrase|keyfile|key_path|secret|token|access_key|credential|account_key)\w*\s*="
both_remotes = pytest.mark.parametrize("kind", ["local", "ssh"])


@pytest.fixture
def reach(request):
    """reach(kind, repository, folder): give a repository the default remote `store` in that folder."""

    def add(kind: str, repository: Repository, folder: Path, **options: str) -> None:
        server = request.getfixturevalue("sshd") if kind == "ssh" else None
        address = {"url": server.url(folder), "keyfile": str(server.key)} if server else {"url": str(folder)}
        repository.configure("core", remote="store")
        repository.configure(STORE, **address, **options)

    return add


def sent(said: str) -> int:
    """How many files a transfer says it has moved."""
    return int(re.search(r"^(\d+) files? (?:pushed|fetched)", said, flags=re.MULTILINE)[1])


@pytest.fixture(scope="module", params=["local", "ssh"])
def travelled(request, finished, tmp_path_factory) -> SimpleNamespace:
    """What docs/remotes.md says, done: a repository pushed to a remote, its clone on another machine, pulled."""
    folder = tmp_path_factory.mktemp("travelled")
    store, origin = folder / "away/store", copy(finished, folder / "origin")
    server = request.getfixturevalue("sshd") if request.param == "ssh" else None
    url = server.url(store) if server else str(store)
    origin.dvc("remote", "add", "--default", "--force", "store", url)
    key = ["remote", "modify", "--local", "store", "keyfile", server.key] if server else []
    if key:
        origin.dvc(*key)
    pushed = sent(origin.dvc("push"))
    origin.commit()
    clone = origin.clone(folder / "clone")
    assert clone.contents(*OUTS) == {}
    if key:
        clone.dvc(*key)
    clone.dvc("pull")
    return SimpleNamespace(origin=origin, clone=clone, store=store, url=url, server=server, pushed=pushed)


def test_a_clone_pulls_what_was_pushed(travelled):
    assert travelled.pushed == len(objects(travelled.store)) == OBJECTS
    assert damaged(travelled.store) == []
    assert travelled.clone.contents(*OUTS) == travelled.origin.contents(*OUTS)
    assert len(travelled.clone.contents(*OUTS)) == 4
    assert "Running stage" not in travelled.clone.dvc("repro")


def test_git_holds_no_key_and_not_where_it_lies(travelled):
    origin, server = travelled.origin, travelled.server
    files = origin.run("git", "ls-files").splitlines()
    tracked = b"".join((origin.folder / file).read_bytes() for file in files)
    assert travelled.url.encode() in tracked
    assert ".dvc/config.local" not in files
    assert "config.local" not in origin.run("git", "status", "--short")
    if server:
        assert str(server.key) in (origin.folder / ".dvc/config.local").read_text()
        assert str(server.key).encode() not in tracked
        assert all(line not in tracked for line in server.key.read_bytes().splitlines())


def test_this_repositorys_own_configuration_names_no_secret(root):
    text = (root / ".dvc/config").read_text()
    assert not re.search(SECRET, text, flags=re.MULTILINE)
    assert not re.search(r"://[^/\s]*:[^/\s]*@", text), "a password in an address"
    assert "/config.local" in (root / ".dvc/.gitignore").read_text().splitlines()


def test_a_host_of_the_ssh_configuration_is_reached_and_its_key_not_checked(sshd, finished, tmp_path):
    """Port, user and key as OpenSSH's file has them; should DVC begin to check host keys, docs/remotes.md is wrong."""
    origin = copy(finished, tmp_path / "origin")
    home = Path(origin.environment["HOME"]) / ".ssh"
    home.mkdir()
    host = f"Host lab\n  HostName 127.0.0.1\n  Port {sshd.port}\n  User root\n  IdentityFile {sshd.key}\n"
    (home / "config").write_text(host)
    (home / "known_hosts").write_text(f"[127.0.0.1]:{sshd.port} {sshd.key.with_suffix('.pub').read_text()}")
    options = ["-F", home / "config", f"-oUserKnownHostsFile={home / 'known_hosts'}", "-oBatchMode=yes"]
    assert "Host key verification failed" in origin.run("ssh", *options, "lab", "true", code=255)
    origin.configure(STORE, url=f"ssh://lab{tmp_path}/away")
    assert sent(origin.dvc("push")) == len(objects(tmp_path / "away")) == OBJECTS


@both_remotes
def test_an_interrupted_push_goes_on(bulky, reach, tmp_path, kind):
    origin, store = copy(bulky, tmp_path / "origin", without=("bulk",)), tmp_path / "store"
    reach(kind, origin, store)
    across = interrupt(origin, store, IN_BULK, "push")
    assert damaged(store) == []
    assert not any(name.endswith(".dir") for name in objects(store)), "a folder's list goes last"
    assert 0 < sent(origin.dvc("push")) <= IN_BULK - across
    assert objects(store).keys() == objects(origin.cache).keys()
    assert damaged(store) == []


@both_remotes
def test_an_interrupted_pull_goes_on(bulky, reach, tmp_path, kind):
    store, clone = tmp_path / "store", copy(bulky, tmp_path / "clone", without=("cache", "bulk"))
    shutil.copytree(bulky.cache, store, copy_function=os.link)
    reach(kind, clone, store)
    across = interrupt(clone, clone.cache, IN_BULK, "pull")
    assert damaged(clone.cache) == []
    assert 0 < sent(clone.dvc("pull")) <= IN_BULK - across
    assert clone.contents("bulk") == bulky.contents("bulk")
    assert damaged(clone.cache) == []


def test_half_an_object_in_a_folder_is_not_taken_for_one(origin, tmp_path):
    """It is writable, unlike an object that has come across; over SSH nothing but a whole object gets its name."""
    store, clone = tmp_path / "store", copy(origin, tmp_path / "clone", without=("cache", *OUTS))
    name = object_of(store, b"two 1\n").relative_to(store)
    shutil.rmtree(store)
    for place, content in ((store, b""), (clone.cache, b"tw")):
        (place / name).parent.mkdir(parents=True)
        (place / name).write_bytes(content)
    assert sent(origin.dvc("push")) == OBJECTS
    assert sent(clone.dvc("pull")) == OBJECTS
    assert damaged(store) == damaged(clone.cache) == []
    assert clone.contents(*OUTS) == origin.contents(*OUTS)


def test_a_damaged_object_of_a_remote_is_handed_out_where_nothing_is_verified(origin, tmp_path):
    changed = damage(object_of(tmp_path / "store", b"two 1\n"))
    clone = copy(origin, tmp_path / "clone", without=("cache", *OUTS))
    clone.dvc("pull")
    assert clone.contents("out/two.txt") == {"out/two.txt": changed}
    assert "up to date" in clone.dvc("status"), "DVC sees nothing"
    assert clone.check(code=1).startswith("damaged: out/two.txt;")


@both_remotes
def test_a_verified_remote_hands_out_nothing_damaged(origin, reach, tmp_path, kind):
    damage(object_of(tmp_path / "store", b"two 1\n"))
    clone = copy(origin, tmp_path / "clone", without=("cache", *OUTS))
    reach(kind, clone, tmp_path / "store", verify="true")
    said = clone.dvc("pull", code=None)
    assert re.search(r"Checkout failed for following targets:\s+out$", said, flags=re.MULTILINE)
    assert damaged(clone.cache) == []
    assert clone.contents(*OUTS) == origin.contents("table.csv", "final.txt"), "what is whole is there"


@both_remotes
def test_a_damaged_object_of_a_remote_is_named_with_what_repairs_it(origin, reach, tmp_path, kind):
    store = tmp_path / "store"
    reach(kind, origin, store)
    broken = object_of(store, b"two 1\n")
    damage(broken)
    said = origin.check("--remote", "store", code=1)
    assert said.startswith("damaged: out/two.txt;")
    files = [Path(file) for file in re.findall(rf"{tmp_path}/store/\S+", said.replace(",", " "))]
    assert files[0] == broken
    files[0].unlink()
    assert "Everything is up to date" in origin.dvc("push"), "DVC believes the folder's list, so it is named too"
    files[1].unlink()
    assert sent(origin.dvc("push")) == len(files) == 2
    assert objects(store).keys() == objects(origin.cache).keys()
    assert damaged(store) == []
