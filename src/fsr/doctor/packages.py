"""Which packages are installed, of those FSR names."""

import re
from collections import defaultdict
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement

from fsr.doctor.finding import Finding, Purpose

STUDY = ("scikit-image", "scikit-learn", "snakemake")  # the default study cannot run without them
USEFUL = ("onnx", "onnxruntime")  # whatever extra they are of


def examine_packages(study: Purpose = "study") -> Iterator[Finding]:
    """Required packages in a line where all are there; each optional one, with the extra that installs it.

    Args:
        study: what those that run the default study are needed for here.
    """
    by_extra = requirements_by_extra()
    wrong = [found for item in by_extra.pop("", []) if (found := _package(item, "", "use")).state != "ok"]
    yield from wrong
    if not wrong:
        yield Finding("packages", "FSR's requirements", "ok", f"fsr {version('fsr')}, all at hand", needed="use")
    seen: set[str] = set()
    for extra, items in by_extra.items():
        for item in (item for item in items if item.name not in seen):
            seen.add(item.name)
            yield _package(item, extra, study if item.name in STUDY else "")
    yield from (_package(Requirement(name), "", "") for name in USEFUL if name not in seen)


def requirements_by_extra() -> dict[str, list[Requirement]]:
    """FSR's requirements that apply here: {"": the required ones, extra: what it adds}."""
    found: dict[str, list[Requirement]] = defaultdict(list)
    for item in map(Requirement, requires("fsr") or []):
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", str(item.marker))
        name = extra[1] if extra else ""
        if item.name != "fsr" and (item.marker is None or item.marker.evaluate({"extra": name})):
            found[name].append(item)
    return found


def _package(item: Requirement, extra: str, needed: Purpose) -> Finding:
    """What is installed of a requirement."""
    source = f"'fsr[{extra}]'" if extra else str(item.name) + str(item.specifier)
    remedy = f"pip install {source}" if extra or not item.specifier else f"pip install '{source}'"
    shown = f"{item.name} ({extra})" if extra else item.name
    try:
        installed = version(item.name)
    except PackageNotFoundError:
        return Finding("packages", shown, "missing", "", remedy, needed)
    if not item.specifier.contains(installed, prereleases=True):
        return Finding("packages", shown, "broken", f"{installed}, not {item.specifier}", remedy, needed)
    return Finding("packages", shown, "ok", installed, needed=needed)
