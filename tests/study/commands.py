"""The real commands, and what they leave behind."""

import contextlib
import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml
from filelock import FileLock

ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "A tester"), ("EMAIL", "tester@example.org"))
}
WEIGHTS = "diffusion_pytorch_model.safetensors"
STAGES = ["data", "latents", "probe", "train", "rivals", "benchmark", "report"]  # of DVC
AFTER_ROWS = {"benchmark_rows", "benchmark_set", "distribution", "build_report"}
AFTER_TRAINING = {"search_rate", "train_rival", "list_rivals", "measure_runtime", *AFTER_ROWS}


def once(place: Path, make: Callable[[Path], None]) -> Path:
    """What `make(place)` leaves there: the first of the processes that test makes it, the others wait."""
    place.parent.mkdir(exist_ok=True)
    finished = place.with_name(f"{place.name}.finished")
    with FileLock(f"{place}.lock"):
        if not finished.exists():
            shutil.rmtree(place, ignore_errors=True)  # of one that failed
            make(place)
            finished.touch()
    return place


def call(folder: Path, *command: str, fails: bool = False) -> str:
    """What a command says."""
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=ENVIRONMENT)
    assert bool(run.returncode) == fails, f"{command}\n{run.stdout}{run.stderr}"
    return run.stdout + run.stderr


def snakemake(folder: Path, *arguments: str, fails: bool = False) -> str:
    """What Snakemake says in a folder: in a clone by its own code, elsewhere by the repository's."""
    snakefile = next(place / "Snakefile" for place in (folder, ROOT) if (place / "Snakefile").exists())
    return call(folder, "snakemake", "--snakefile", str(snakefile), "--cores", "1", *arguments, fails=fails)


def jobs(folder: Path, *arguments: str) -> dict[str, int]:
    """Jobs that a dry run would execute, by rule."""
    text = snakemake(folder, "--dry-run", *arguments).split("Job stats:")
    lines = (line.split() for line in text[1].split("total")[0].splitlines()) if len(text) > 1 else []
    return {words[0]: int(words[1]) for words in lines if len(words) == 2 and words[1].isdigit() and words[0] != "all"}


def planned(folder: Path, *arguments: str) -> set[str]:
    """Rules that a dry run would execute."""
    return set(jobs(folder, *arguments))


def stages(said: str, how: str) -> list[str]:
    """Stages of which `dvc repro` said so, in order."""
    return [line.split("'")[1] for line in said.splitlines() if line.startswith(how) or f"' {how}" in line]


def change(folder: Path, edit) -> None:
    """Edit the parameters of a study."""
    values = yaml.safe_load((folder / "params.yaml").read_text())
    edit(values)
    (folder / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))


def new_study(folder: Path) -> Path:
    """A folder with the tiny study's parameters alone."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "tests/tiny/params.yaml", folder)
    return folder


def new_clone(folder: Path) -> Path:
    """The repository as it lies here, without results, with the tiny study's parameters; committed."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file() and not name.startswith("results/"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    new_study(folder)
    call(folder, "git", "init", "--quiet")
    commit(folder)
    return folder


def copy(folder: Path, place: Path) -> Path:
    """A copy of a clone with all that it holds, a cache and times included."""
    return Path(shutil.copytree(folder, place, symlinks=True))


def commit(folder: Path) -> None:
    """Commit everything that Git does not ignore."""
    call(folder, "git", "add", "--all")
    call(folder, "git", "commit", "--quiet", "--message", "as it is")


def weights(folder: Path) -> bytes:
    """The trained field."""
    return (folder / "results/tiny/train/model" / WEIGHTS).read_bytes()


def tables(folder: Path) -> dict[str, str]:
    """Hashes of what must not depend on how a study came about."""
    results = folder / "results/tiny"
    files = [*results.glob("report/tables/*"), *results.glob("benchmark/x*/*.csv"), results / "probe/probe.csv",
             results / "train/log.csv", *results.glob("train/model/*"), *results.glob("report/figures/*"),
             *folder.glob("data/latents/public/tiny/*.safetensors")]  # fmt: skip
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@contextlib.contextmanager
def started(folder: Path, *command: str, log: Path) -> Iterator[subprocess.Popen]:
    """A command in a session of its own, killed at the end with all that it started."""
    with log.open("w") as output:
        run = {"stdout": output, "stderr": subprocess.STDOUT, "env": ENVIRONMENT, "start_new_session": True}
        process = subprocess.Popen(command, cwd=folder, **run)
    try:
        yield process
    finally:
        subprocess.run(["pkill", "-KILL", "--session", str(process.pid)], check=False)
        process.wait()


def wait_for(condition, seconds: float = 60) -> None:
    """Until the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
