"""What is asked of Snakemake and DVC together: results adopted, given to others, and taken from them.

python workflow/exchange.py adopt    what plain Snakemake made, into DVC
python workflow/exchange.py push     to the remote, but no images that may not be given to others
python workflow/exchange.py pull     results and checkpoints without computing them
python workflow/exchange.py settle   after dvc checkout or dvc exp apply: Snakemake learns what stands here
"""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer
from dvc.exceptions import DvcException
from dvc.output import Output
from dvc.repo import Repo

from fsr.datasets import Dataset, read_registry
from fsr.files import read_json

SOURCE = Path(__file__).resolve().parents[1]
app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)


class RefusedError(Exception):
    """What was asked for is not done: why, and what to do."""


@app.command()
def adopt(cores: int = 1) -> None:
    """Make what is missing or outdated with Snakemake, then record all of it in dvc.lock and in DVC's cache."""
    run("snakemake", "--cores", str(cores), "all")
    with Repo() as repo:
        for out in repo.index.outs:
            if {"public", "private"} & set(Path(out.def_path).parts):  # either may be empty, and DVC wants both
                Path(out.fs_path).mkdir(parents=True, exist_ok=True)
    run("dvc", "commit", "--force")


@app.command()
def push() -> None:
    """Push to the default remote; refuse where that would give away images whose licence does not allow it."""
    registry = read_registry(SOURCE / "data/datasets.csv")
    with Repo() as repo, repo.lock:
        # What is pushed is what dvc.lock names; what can be looked into is what stands here.
        differing = [str(out) for out in repo.index.outs if out.can_push and out.status()]
        private = {out: private_sets(Path(out.fs_path), registry) for out in repo.index.outs}
    if differing:
        raise RefusedError(
            f"not as dvc.lock says: {', '.join(differing)}. Run dvc repro, dvc checkout or make adopt first"
        )
    for out, licences in private.items():
        if out.can_push and licences:
            raise RefusedError(
                f"{out} would be pushed, and holds images that may not be given to others ({shown(licences)}); set "
                "`push: false` for it in dvc.yaml, or take them out and run dvc commit"
            )
    run("dvc", "push")
    for out, licences in private.items():
        if licences:
            typer.echo(f"stays here: {out} ({shown(licences)})", err=True)
    if any(private.values()):
        typer.echo("given: figures, and the report's page with whole test images: see that licences allow it", err=True)


@app.command()
def pull() -> None:
    """Pull all that dvc.lock names, check it, and tell Snakemake that it is up to date."""
    if not Path("dvc.lock").is_file():
        raise RefusedError(
            "there is no dvc.lock: nothing is recorded here to pull. Make it: make study, then make adopt"
        )
    with Repo() as repo:
        if "remote" not in repo.config["core"]:
            raise RefusedError("no remote is known to pull from; dvc remote add --default NAME URL (docs/remotes.md)")
    run("dvc", "pull", "--allow-missing")
    run(sys.executable, str(SOURCE / "workflow/cache.py"), "check")
    settle()


@app.command()
def settle() -> None:
    """Tell Snakemake that what stands here is up to date, if it is what dvc.lock says."""
    with Repo() as repo:
        restore_empty(repo)
        absent = {str(out) for out in repo.index.outs if not out.can_push and is_absent(out)}
        changed = sorted(set(changes(repo.status(), absent)))
    if changed:
        raise RefusedError(f"not as dvc.lock says: {'; '.join(changed)}. Run dvc checkout to have it so, or dvc repro")
    run("snakemake", "--cores", "1", "all", "--touch", "--forceall", "--quiet", "all")
    for path in sorted(absent):
        typer.echo(f"not here: {path} (never pushed; snakemake makes it where something needs it)", err=True)


def restore_empty(repo: Repo) -> None:
    """Make the folders that are recorded as empty and are not pushed: that nothing private is in them is known."""
    with repo.lock:
        for out in repo.index.outs:
            folder = Path(out.fs_path)
            if not out.can_push and out.meta.nfiles == 0 and not (folder.is_dir() and any(folder.iterdir())):
                folder.mkdir(parents=True, exist_ok=True)
                out.save()
                out.commit()


def is_absent(out: Output) -> bool:
    """Whether nothing of an output is here, though dvc.lock says that there is something."""
    folder = Path(out.fs_path)
    return bool(out.meta.nfiles) and not (folder.is_dir() and any(folder.iterdir()))


def changes(status: Mapping[str, Any], absent: set[str]) -> Iterator[str]:
    """What `dvc status` says of each stage, as "path (how)"; without the absent paths."""
    for stage, entries in status.items():
        for entry in entries:
            if isinstance(entry, str):
                yield f"{stage} ({entry})"
                continue
            for found in entry.values():
                files = found.items() if isinstance(found, dict) else [(stage, str(found))]
                yield from (f"{path} ({how})" for path, how in files if path not in absent)


def private_sets(folder: Path, registry: Mapping[str, Dataset]) -> dict[str, str]:
    """{set: licence} of the private sets whose images, or crops of them, or pictures made of them, a folder holds."""
    licences = {name: dataset.licence for name, dataset in registry.items() if dataset.access == "private"}
    public = registry.keys() - licences.keys()
    found = {}
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if path.name == "manifest.json":
            manifest = read_json(path)
            if manifest.get("access") == "private":
                found[manifest["name"]] = manifest["licence"]
            learned = manifest.get("made_by", {}).get("datasets", {})
            found |= {name: licences.get(name, "not known") for name in learned if name not in public}
        elif path.is_dir() and path.name in licences and any(path.iterdir()):
            found[path.name] = licences[path.name]
    return found


def shown(licences: Mapping[str, str]) -> str:
    """Sets and their licences in a line."""
    return "; ".join(f"{name}: {licence}" for name, licence in licences.items())


def run(*command: str) -> None:
    """Run a command in the sight of the user.

    Raises:
        RefusedError: it failed; what it said stands above.
    """
    if subprocess.run(command).returncode:
        raise RefusedError(f"{' '.join(command)} failed; it says why above")


if __name__ == "__main__":
    try:
        app()
    except (RefusedError, DvcException, OSError, ValueError) as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(1) from None
