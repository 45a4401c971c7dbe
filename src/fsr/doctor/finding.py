"""What was looked at, and what was found."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        state: ok; missing, where it is not here; broken, where it is and cannot be used.
        remedy: how to get it; empty where it is at hand.
        needed: the default study cannot run without it.
    """

    section: str
    name: str
    state: Literal["ok", "missing", "broken"]
    detail: str
    remedy: str = ""
    needed: bool = False
