"""Repositories, made once and copied; a real sshd."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from dvc_repository import STORE, Repository, copy, empty_repository

SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
SERVER = """
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile {folder}/pid
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
Subsystem sftp internal-sftp
"""
TABLE = """
from pathlib import Path

from fsr.files import write_json, write_text

value = Path("value").read_text().strip()
write_json("out/one.json", {"value": value})
write_text("out/two.txt", f"two {value}\\n")
write_text("table.csv", f"value\\n{value}\\n")
"""
STAGES = """
stages:
  make:
    cmd: python make.py
    deps: [make.py, value]
    outs: [out, table.csv]
  after:
    cmd: cat out/two.txt table.csv > final.txt
    deps: [out, table.csv]
    outs: [final.txt]
"""
BULK = """
import random
from pathlib import Path

Path("bulk").mkdir()
random_bytes = random.Random(0).randbytes
for number in range(24):
    Path(f"bulk/{number}").write_bytes(random_bytes(1 << 20))
"""


@dataclass(frozen=True)
class Server:
    """An SSH server on this machine that lets in one key."""

    port: int
    key: Path

    def url(self, folder: Path) -> str:
        """A folder of this machine as it is reached through the server."""
        return f"ssh://127.0.0.1:{self.port}{folder}"


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def wait_until_it_listens(port: int, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(log.read_text())


@pytest.fixture(scope="session")
def sshd(tmp_path_factory) -> Iterator[Server]:
    """A server of Debian's openssh-server, with keys made for it alone; it ends with the tests."""
    if not SSHD:
        pytest.skip("needs sshd: apt-get install openssh-server")
    if os.geteuid():
        pytest.skip("sshd is started as root")
    folder = tmp_path_factory.mktemp("sshd")
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    Path("/run/sshd").mkdir(exist_ok=True)  # where it gives up its rights
    port, log = free_port(), folder / "log"
    (folder / "config").write_text(SERVER.format(port=port, folder=folder))
    # Tied to this process: should it be killed, the server goes with it.
    command = ["setpriv", "--pdeathsig", "TERM", SSHD, "-D", "-e", "-f", folder / "config"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=output)
    try:
        wait_until_it_listens(port, process, log)
        yield Server(port, folder / "user")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=20)


@pytest.fixture(scope="session")
def empty(tmp_path_factory) -> Repository:
    """A repository with nothing in it."""
    return empty_repository(tmp_path_factory.mktemp("empty") / "origin")


@pytest.fixture(scope="session")
def finished(empty, tmp_path_factory) -> Repository:
    """Two stages that have run and are committed, pushed to the remote `store` in the folder beside it."""
    repository = copy(empty, tmp_path_factory.mktemp("finished") / "origin")
    ignored = "/out\n/table.csv\n/final.txt\n"
    repository.write({"dvc.yaml": STAGES, "make.py": TABLE, "value": "1\n", ".gitignore": ignored})
    repository.configure("core", remote="store")
    repository.configure(STORE, url="../../store")
    repository.dvc("repro")
    repository.dvc("push")
    repository.commit()
    return repository


@pytest.fixture
def origin(finished, tmp_path) -> Repository:
    """A copy of the finished repository, free to change, with its remote `tmp_path/store`."""
    shutil.copytree(finished.folder.with_name("store"), tmp_path / "store")
    return copy(finished, tmp_path / "origin")


@pytest.fixture(scope="session")
def bulky(empty, tmp_path_factory) -> Repository:
    """A stage's output of 24 MB in 24 files; without a remote."""
    repository = copy(empty, tmp_path_factory.mktemp("bulky") / "origin")
    stage = "stages:\n  make:\n    cmd: python make.py\n    deps: [make.py]\n    outs: [bulk]\n"
    repository.write({"dvc.yaml": stage, "make.py": BULK, ".gitignore": "/bulk\n"})
    repository.dvc("repro")
    repository.commit()
    return repository
