"""Looking at everything, one section after the other."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from fsr.doctor.finding import Finding
from fsr.doctor.packages import examine_packages
from fsr.doctor.sets import examine_sets
from fsr.doctor.system import examine_system, examine_torch
from fsr.doctor.weights import examine_weights


def examine(params: Path, registry: Path, mirror: str | None = None) -> list[Finding]:
    """All findings: system, torch, packages, weights, image sets.

    Args:
        params: the study's parameters, whose image sets are needed. registry: of image sets. Both may be absent.
        mirror: root of a mirror; None takes the environment variable FSR_MIRROR.
    """
    return [
        *_safely("system", lambda: examine_system(mirror)),
        *_safely("torch", examine_torch),
        *_safely("packages", examine_packages),
        *_safely("weights", lambda: examine_weights(mirror)),
        *_safely("image sets", lambda: examine_sets(params, registry, mirror)),
    ]


def healthy(findings: Iterable[Finding]) -> bool:
    """Whether all is at hand that the default study needs."""
    return all(finding.state == "ok" for finding in findings if finding.needed)


def _safely(section: str, look: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """A section's findings; where looking itself fails, that is one."""
    try:
        yield from look()
    except Exception as error:  # a damaged installation raises anything
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        yield Finding(section, "looking at it", "broken", reason, "correct what it names, or install FSR again", True)
