"""Looking at everything, one section after the other."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from fsr.doctor.finding import Finding, Purpose
from fsr.doctor.packages import examine_packages
from fsr.doctor.sets import examine_sets
from fsr.doctor.system import examine_system, examine_torch
from fsr.doctor.weights import examine_weights


def examine(params: Path, registry: Path, mirror: str | None = None) -> list[Finding]:
    """All findings: system, torch, packages, weights, image sets.

    Args:
        params: the study's parameters, whose packages and image sets are needed; where it is absent, none are.
        registry: of image sets, which may be absent too.
        mirror: root of a mirror; None takes the environment variable FSR_MIRROR.
    """
    return [
        *_safely("system", lambda: examine_system(mirror)),
        *_safely("torch", examine_torch),
        *_safely("packages", lambda: examine_packages("study" if params.is_file() else "")),
        *_safely("weights", lambda: examine_weights(mirror)),
        *_safely("image sets", lambda: examine_sets(params, registry, mirror)),
    ]


def healthy(findings: Iterable[Finding]) -> bool:
    """Whether all is at hand that enlarging images needs, and the study that is here, if one is."""
    return not lacking(findings, "use", "study")


def lacking(findings: Iterable[Finding], *purposes: Purpose) -> list[str]:
    """Names of what is needed for some purposes and not at hand."""
    return [finding.name for finding in findings if finding.needed in purposes and finding.state != "ok"]


def _safely(section: str, look: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """A section's findings; where looking itself fails, that is one."""
    try:
        yield from look()
    except Exception as error:  # a damaged installation raises anything
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        yield Finding(section, "looking at it", "broken", reason, "correct what it names, or install FSR again", "use")
