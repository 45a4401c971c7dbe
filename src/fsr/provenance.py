"""Which first-party files a module's results depend on, and the note beside each result of what it was made with."""

import ast
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from importlib.metadata import requires, version
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from fsr.files import read_json, write_json

ROOT = Path(__file__).parent
# What results are made by, as git names it.
STUDY = ("Snakefile", "workflow", "profiles", "src", "params.yaml", "experiments", "data/*.csv", "constraints.txt")


def write_provenance(
    path: Path | str,
    *,
    rule: str,
    outputs: Iterable[Path | str],
    params: Mapping[str, Any],
    wildcards: Mapping[str, str],
    threads: int,
    inputs: Iterable[Path | str],
    repository: Path | str,
) -> None:
    """Write beside a job's results what they were made with: everything `fsr info` shows.

    Nothing in it differs between two runs of the same code with the same parameters and packages on one machine.

    Args:
        params: the whole study's.
        inputs: of the job; the first that names the frozen autoencoder's hash says which it was.
        repository: where the study's code is; its commit is null where git does not know it.
    """
    path = Path(path)
    provenance = {
        "rule": rule,
        "wildcards": dict(wildcards),
        "outputs": sorted(os.path.relpath(file, path.parent) for file in outputs),
        "git": git_state(repository),
        "autoencoder": autoencoder_of(inputs),
        "seed": params["seed"],
        "threads": threads,
        "device": params["runtime"]["device"],
        "dtype": params["runtime"]["dtype"],
        "machine": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": package_versions(),
        "params": dict(params),
    }
    write_json(path, provenance)


def git_state(repository: Path | str) -> dict[str, Any]:
    """{"commit", "dirty"}: dirty where what results are made by is not as committed; None where git knows nothing."""

    def git(*arguments: str) -> str | None:
        try:
            found = subprocess.run(["git", "-C", str(repository), *arguments], capture_output=True, text=True)
        except FileNotFoundError:
            return None
        return found.stdout.strip() if found.returncode == 0 else None

    commit, changes = git("rev-parse", "--verify", "--quiet", "HEAD"), git("status", "--porcelain", "--", *STUDY)
    return {"commit": commit, "dirty": None if changes is None else bool(changes)}


def package_versions() -> dict[str, str]:
    """Installed versions of FSR and of what it requires to run."""
    required = [Requirement(line) for line in requires("fsr") or []]
    names = sorted({item.name for item in required if item.marker is None or item.marker.evaluate({"extra": ""})})
    return {name: version(name) for name in ("fsr", *names)}


def autoencoder_of(files: Iterable[Path | str]) -> str | None:
    """Hash of the frozen autoencoder that a latent cache or a field among the files was made with."""
    for file in map(Path, files):
        if file.suffix == ".json" and isinstance(read := read_json(file), dict):
            named = read.get("autoencoder") or read.get("made_by", {}).get("autoencoder")
            if isinstance(named, str):
                return named
    return None


def module_sources(*modules: str) -> list[Path]:
    """Files of the named `fsr` modules ("train", "flow.field") and of all they import from `fsr`, directly or not.

    Raises:
        ValueError: there is no such module.
    """
    found: set[Path] = set()
    waiting = [_file(f"fsr.{module}") for module in modules]
    if None in waiting:
        raise ValueError(f"no module fsr.{modules[waiting.index(None)]}; modules are the files below {ROOT}")
    while waiting:
        path = waiting.pop()
        if path is None or path in found:
            continue
        found.add(path)
        waiting += [_file(name) for name in _imports(path)]
    return sorted(found)


def _imports(path: Path) -> set[str]:
    """Names of everything `fsr` that a file imports, the packages on the way included."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    ours = [name.split(".") for name in names if name.split(".")[0] == "fsr"]
    return {".".join(parts[: end + 1]) for parts in ours for end in range(len(parts))}


def _file(name: str) -> Path | None:
    """The file of a dotted name; None when it is a function or class."""
    base = ROOT.joinpath(*name.split(".")[1:])
    for candidate in (base / "__init__.py", base.with_suffix(".py")):
        if candidate.is_file():
            return candidate
    return None
