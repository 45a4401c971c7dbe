"""What a result is and where it comes from, by the provenance that lies beside it."""

import math
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Group
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text
from safetensors import SafetensorError, safe_open

from fsr.files import read_json

SIDECAR = "provenance.json"
KEYS = {
    "rule": str,
    "outputs": list,
    "git": dict,
    "params": dict,
    "packages": dict,
    "python": str,
    "autoencoder": str | None,
    "device": str,
    "dtype": str,
    "threads": int,
    "seed": int,
    "wildcards": dict,
}
LEVELS = 6
TOP = (".git", "Snakefile", "params.yaml")  # what a project's own folder holds
CONFIG = {"_class_name": "class", "cut": "cut", "scales": "scales", "autoencoder": "autoencoder"}
KINDS = {
    ".safetensors": "tensors",
    ".png": "picture",
    ".svg": "drawing",
    ".pdf": "drawing",
    ".csv": "table",
    ".md": "text or table",
    ".tex": "table for LaTeX",
    ".json": "JSON",
    ".html": "page",
}


@dataclass(frozen=True)
class Tensors:
    """What a safetensors file holds, by its header.

    Attributes:
        parameters: numbers in all tensors together, statistics included. dtypes: tensors of each.
        config: main entries of the config.json beside it, if there is one.
    """

    tensors: int
    parameters: int
    dtypes: dict[str, int]
    metadata: dict[str, str]
    config: dict[str, Any]


@dataclass(frozen=True)
class Description:
    """A file or folder, what it is, and the path and content of its sidecar, which only tensors may be without."""

    path: Path
    kind: str
    sidecar: Path | None = None
    provenance: dict[str, Any] | None = None
    holds: Tensors | None = None


def describe(path: Path | str) -> Description:
    """What is known of a result file, of a folder of results, or of a sidecar's results.

    Raises:
        FileNotFoundError: nothing at `path`.
        ValueError: no provenance, or several, belong to it; or a file is damaged.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; give a result's file or folder, or a {SIDECAR}")
    holds = read_tensors(path) if path.suffix == ".safetensors" else None
    found = find_provenance(path)
    if found is None and holds is None:
        raise ValueError(
            f"no {SIDECAR} beside {path} or above it lists it; ask of a file where its study wrote it, or make it again"
        )
    return Description(path, kind_of(path), *(found or (None, None)), holds)


def kind_of(path: Path) -> str:
    """What a file or folder is, and a file's size, in words."""
    if path.is_dir():
        return "folder"
    kind = "provenance" if is_sidecar(path) else KINDS.get(path.suffix.lower(), "file")
    return f"{kind}, {decimal(path.stat().st_size)}"


def is_sidecar(path: Path) -> bool:
    """Whether a file is, by its name, the provenance of others."""
    return path.name == SIDECAR or path.name.endswith(f".{SIDECAR}")


def find_provenance(path: Path | str) -> tuple[Path, dict[str, Any]] | None:
    """The sidecar that lists a file or folder, and its content; None where there is none.

    A sidecar is its own. Of a folder with sidecars in it, it is the one that lists most. Else it is the first that
    lists the path: in its folder, then in those above, at most six and up to the one that holds a project; then one and
    two folders below each of these, since a job may write into several folders.

    Raises:
        ValueError: several sidecars in a folder list as many; or one is damaged.
    """
    path = Path(os.path.normpath(Path(path).absolute()))
    if is_sidecar(path):
        return path, read_sidecar(path)
    if path.is_dir() and (inside := sidecars(path)):
        return _largest(path, inside)
    folders = list(_upward(path.parent))
    below = (f"{'*/' * depth}*{SIDECAR}" for depth in (1, 2))
    candidates = [sidecar for folder in folders for sidecar in sidecars(folder)]
    candidates += [sidecar for pattern in below for folder in folders for sidecar in sidecars(folder, pattern)]
    for sidecar in dict.fromkeys(candidates):
        provenance = read_sidecar(sidecar)
        if lists(sidecar, provenance, path):
            return sidecar, provenance
    return None


def sidecars(folder: Path, pattern: str = f"*{SIDECAR}") -> list[Path]:
    """Sidecars in a folder, by name."""
    return sorted(path for path in folder.glob(pattern) if is_sidecar(path))


def lists(sidecar: Path, provenance: dict[str, Any], path: Path) -> bool:
    """Whether a sidecar names an absolute path, or a folder that it lies in, among its outputs."""
    outputs = {Path(os.path.normpath(sidecar.parent / output)) for output in provenance["outputs"]}
    return not outputs.isdisjoint((path, *path.parents))


def read_sidecar(path: Path) -> dict[str, Any]:
    """The content of a sidecar.

    Raises:
        ValueError: it is not JSON, or a key is missing or of another type; says which.
    """
    provenance = read_json(path)
    if not isinstance(provenance, dict):
        raise ValueError(f"{path} is no provenance: it is not a mapping; make its results again")
    wrong = [key for key, kind in KEYS.items() if key not in provenance or not isinstance(provenance[key], kind)]
    if wrong:
        raise ValueError(f"{path} is no provenance: {', '.join(wrong)} missing or wrong; make its results again")
    return provenance


def read_tensors(path: Path) -> Tensors:
    """What a safetensors file holds; no tensor is loaded.

    Raises:
        ValueError: it is damaged.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            slices = [file.get_slice(name) for name in file.keys()]  # noqa: SIM118 - no mapping
            parameters = sum(math.prod(item.get_shape()) for item in slices)
            dtypes, metadata = Counter(item.get_dtype() for item in slices), file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged ({error}); fetch it again or make it again") from error
    beside = path.parent / "config.json"
    config = read_json(beside) if beside.is_file() else {}
    main = {CONFIG[key]: config[key] for key in CONFIG if key in config}
    return Tensors(len(slices), parameters, dict(dtypes), metadata, main)


def as_json(description: Description) -> dict[str, Any]:
    """The sidecar's entries after its own path; of tensors, what they are."""
    sidecar = description.sidecar and str(description.sidecar)
    values = {"file": str(description.path), "kind": description.kind, "sidecar": sidecar}
    holds = {} if description.holds is None else {"holds": asdict(description.holds)}
    return values | (description.provenance or {}) | holds


def params_text(description: Description) -> str:
    """All parameters of the study as YAML; nothing where there is no provenance."""
    params = (description.provenance or {}).get("params")
    return yaml.safe_dump(params, sort_keys=False, allow_unicode=True) if params else ""


def shown(description: Description) -> Group:
    """A short block for people."""
    rows = {} if description.holds is None else tensor_rows(description.holds)
    provenance = description.provenance
    if provenance is None:
        rows["provenance"] = "none lies beside it: what it was made with is not known"
    else:
        rows |= provenance_rows(provenance) | {"provenance": str(description.sidecar)}
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(Text(name), Text(value))
    return Group(Text(f"{description.path}: {description.kind}"), table)


def provenance_rows(provenance: dict[str, Any]) -> dict[str, str]:
    """A sidecar's entries in words, parameters by their experiment's name alone."""
    wildcards = ", ".join(f"{name} {value}" for name, value in provenance["wildcards"].items())
    machine = f" ({provenance['machine']})" if "machine" in provenance else ""
    return {
        "rule": provenance["rule"] + (f" ({wildcards})" if wildcards else ""),
        "commit": commit_text(provenance["git"]),
        "autoencoder": provenance["autoencoder"] or "not known",
        "device": f"{provenance['device']}{machine}, {provenance['dtype']}, threads {provenance['threads']}",
        "seed": str(provenance["seed"]),
        "python": provenance["python"],
        "packages": ", ".join(f"{name} {version}" for name, version in provenance["packages"].items()),
        "params": f"{provenance['params'].get('experiment', 'unnamed')} (--params shows all)",
    }


def commit_text(git: dict[str, Any]) -> str:
    """The commit, and whether there were changes it does not hold."""
    if git.get("commit") is None:
        return "not known"
    state = {True: " and uncommitted changes", False: ""}.get(git.get("dirty"), ", changes not known")
    return f"{git['commit']}{state}"


def tensor_rows(held: Tensors) -> dict[str, str]:
    """What a safetensors file holds, in words; of long metadata, the beginning."""
    dtypes = ", ".join(f"{count} {dtype}" for dtype, count in held.dtypes.items())
    rows = {"tensors": f"{held.tensors} ({dtypes})", "parameters": f"{held.parameters:,}"}
    if held.metadata:
        rows["metadata"] = ", ".join(f"{name} {_short(value)}" for name, value in held.metadata.items())
    return rows | {"for VAE" if name == "autoencoder" else name: str(value) for name, value in held.config.items()}


def _short(text: str, length: int = 60) -> str:
    return text if len(text) <= length else f"{text[:length]}..."


def _upward(folder: Path) -> Iterator[Path]:
    """A folder and those above it: at most `LEVELS`, and none above the one that holds a project."""
    for above in (folder, *folder.parents)[: LEVELS + 1]:
        yield above
        if any((above / name).exists() for name in TOP):
            return


def _largest(folder: Path, inside: list[Path]) -> tuple[Path, dict[str, Any]]:
    """Of the sidecars in a folder the one with most outputs."""
    read = {path: read_sidecar(path) for path in inside}
    most = max(len(provenance["outputs"]) for provenance in read.values())
    largest = [path for path, provenance in read.items() if len(provenance["outputs"]) == most]
    if len(largest) > 1:
        names = ", ".join(path.name for path in inside)
        raise ValueError(f"{folder} has several provenances, none of which lists most; give one: {names}")
    return largest[0], read[largest[0]]
