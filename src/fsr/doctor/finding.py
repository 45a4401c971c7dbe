"""What was looked at, and what was found."""

from dataclasses import dataclass
from typing import Literal

Purpose = Literal["", "use", "study"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        state: ok; missing, where it is not here; broken, where it is and cannot be used.
        remedy: how to get it; empty where it is at hand.
        needed: what cannot be done without it: use, which is to enlarge images, and every study with it; or the study
            at hand alone.
    """

    section: str
    name: str
    state: Literal["ok", "missing", "broken"]
    detail: str
    remedy: str = ""
    needed: Purpose = ""
