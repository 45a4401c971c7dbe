"""Small real repositories of DVC and Git, each as if on a machine of its own."""

import contextlib
import hashlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from configparser import ConfigParser
from dataclasses import dataclass
from pathlib import Path

STORE = "'remote \"store\"'"  # the section of the remote `store`
CACHE = Path(__file__).parents[2] / "workflow/cache.py"


def machine(home: Path) -> dict[str, str]:
    """The environment of somebody whose settings, keys and DVC databases are below `home`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "GIT_", "SSH_"))}
    (home / "config").mkdir(parents=True, exist_ok=True)
    (home / "config/config").write_text("[core]\n    analytics = false\n    check_update = false\n")
    person = {f"GIT_{role}_{key}": "a@b.c" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}
    folders = {"DVC_GLOBAL_CONFIG_DIR": "config", "DVC_SYSTEM_CONFIG_DIR": "system", "DVC_SITE_CACHE_DIR": "site"}
    own = {name: str(home / folder) for name, folder in folders.items()}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return kept | own | person | {"HOME": str(home), "PATH": path, "GIT_CONFIG_NOSYSTEM": "1", "PYTHONUNBUFFERED": "1"}


@dataclass(frozen=True)
class Repository:
    """A folder and the environment in which its commands run."""

    folder: Path
    environment: dict[str, str]

    @property
    def cache(self) -> Path:
        """The folder of DVC's objects."""
        return self.folder / ".dvc/cache"

    def start(self, *command: str | Path) -> subprocess.Popen:
        """A command in a process group of its own; what it says is not kept."""
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen(command, cwd=self.folder, env=self.environment, start_new_session=True, **quiet)

    def run(self, *command: str | Path, code: int | None = 0) -> str:
        """What a command says, which must end with `code`; None stands for any failure."""
        piped = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "timeout": 120}
        result = subprocess.run(command, cwd=self.folder, env=self.environment, **piped)
        said = result.stdout + result.stderr
        assert result.returncode == code if code is not None else result.returncode > 0, said
        return said

    def dvc(self, *arguments: str | Path, code: int | None = 0) -> str:
        """What `dvc ARGUMENTS` says."""
        return self.run("dvc", *arguments, code=code)

    def check(self, *arguments: str, code: int = 0) -> str:
        """What workflow/cache.py says."""
        return self.run(sys.executable, CACHE, "check", *arguments, code=code)

    def configure(self, section: str, **options: str) -> None:
        """Set options in .dvc/config, as `dvc config` or `dvc remote modify` would; they take half a second each."""
        config = ConfigParser(interpolation=None)
        config.read(self.folder / ".dvc/config")
        config.read_dict({section: options})
        with (self.folder / ".dvc/config").open("w") as file:
            config.write(file)

    def write(self, files: dict[str, str]) -> None:
        """Files of text, by path."""
        for name, text in files.items():
            (self.folder / name).write_text(text)

    def commit(self) -> None:
        """Everything that Git does not ignore, committed."""
        self.run("git", "add", ".")
        self.run("git", "commit", "--quiet", "--message", "as it is")

    def clone(self, folder: Path) -> "Repository":
        """Its clone on another machine, without DVC's objects."""
        self.run("git", "clone", "--quiet", self.folder, folder)
        return Repository(folder, machine(folder.with_name(f"{folder.name}-home")))

    def contents(self, *outs: str) -> dict[str, bytes]:
        """The bytes of every file below some outputs, by path."""
        places = [place for out in outs for place in ((self.folder / out), *(self.folder / out).rglob("*"))]
        return {str(file.relative_to(self.folder)): file.read_bytes() for file in places if file.is_file()}


def empty_repository(folder: Path) -> Repository:
    """A repository of Git and DVC with nothing in it."""
    folder.mkdir(parents=True)
    repository = Repository(folder, machine(folder.with_name(f"{folder.name}-home")))
    repository.run("git", "init", "--quiet")
    repository.dvc("init", "--quiet")
    return repository


def copy(repository: Repository, folder: Path, *, without: tuple[str, ...] = ()) -> Repository:
    """The same repository on another machine, with DVC's objects; `without` names files and folders left behind."""
    shutil.copytree(repository.folder, folder, symlinks=True, ignore=shutil.ignore_patterns(*without))
    return Repository(folder, machine(folder.with_name(f"{folder.name}-home")))


def objects(store: Path) -> dict[str, Path]:
    """The files with the name of an object below a cache or a remote, by that name."""
    return {file.parent.name + file.name: file for file in store.glob("files/md5/??/*") if file.suffix != ".tmp"}


def damaged(store: Path) -> list[str]:
    """Names of the objects whose bytes are others."""
    hashes = {name: hashlib.md5(file.read_bytes()).hexdigest() for name, file in objects(store).items()}
    return [name for name, digest in hashes.items() if digest != name.removesuffix(".dir")]


def object_of(store: Path, content: bytes) -> Path:
    """The object with this content."""
    return objects(store)[hashlib.md5(content).hexdigest()]


def damage(file: Path) -> bytes:
    """Flip the bits of a file's first byte, as a disk may: its mode and times stay. Returns what it holds now."""
    before = file.stat()
    content = file.read_bytes()
    changed = bytes([content[0] ^ 255]) + content[1:]
    file.chmod(0o644)
    file.write_bytes(changed)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    file.chmod(stat.S_IMODE(before.st_mode))
    return changed


def filled(store: Path) -> int:
    """How many objects hold anything: DVC tries a reflink first, which makes an empty file for an instant."""
    count = 0
    for file in objects(store).values():
        with contextlib.suppress(FileNotFoundError):
            count += file.stat().st_size > 0
    return count


def interrupt(repository: Repository, store: Path, total: int, *arguments: str) -> int:
    """Kill `dvc ARGUMENTS` as soon as objects stand in `store`, empty at first; how many of the `total` they are.

    Where all were there before it could be killed, nothing was interrupted: it is tried again.
    """
    for _ in range(5):
        shutil.rmtree(store, ignore_errors=True)
        process = repository.start("nice", "-n", "19", "dvc", *arguments)
        while process.poll() is None and not filled(store):
            time.sleep(0.001)
        process.kill()
        killed = process.wait() == -signal.SIGKILL
        if killed and (across := filled(store)) < total:
            return across
    raise AssertionError(f"dvc {' '.join(arguments)} was over before it could be interrupted")
