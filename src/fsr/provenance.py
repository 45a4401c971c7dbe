"""Which first-party files a module's results depend on."""

import ast
from pathlib import Path

ROOT = Path(__file__).parent


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
