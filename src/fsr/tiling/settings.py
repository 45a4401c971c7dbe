"""How large a tile is, or what memory it must fit."""

import re
from dataclasses import dataclass

UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


@dataclass(frozen=True)
class Tiling:
    """How an image is computed: in strips of rows, or whole.

    Attributes:
        rows: of output pixels in a strip; None chooses them by memory and speed.
        memory: bytes that the process, or on a GPU what it allocates there, may take at its peak; None for no limit.
        whole: True for modules on whole tensors, whatever memory that takes; False for strips; None for strips where
            rows or a memory are given, and otherwise for what is faster: strips on a CPU, whole tensors on a GPU.
    """

    rows: int | None = None
    memory: int | None = None
    whole: bool | None = None


def parse_tile(text: str) -> Tiling:
    """What --tile says: "auto", a number of rows, or "off".

    Raises:
        ValueError: anything else.
    """
    if text == "auto":
        return Tiling()
    if text == "off":
        return Tiling(whole=True)
    if text.isdecimal() and int(text) > 0:
        return Tiling(rows=int(text))
    raise ValueError(f"a tile of {text!r} is none; give auto, off, or how many rows of pixels it has")


def parse_memory(text: str) -> int:
    """Bytes of a size such as 4GB, 4GiB, 800M; a K, M, G or T is 1024 of the one before, with or without an i.

    Raises:
        ValueError: it is not such a size, or not above zero.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?) *(?:([kmgt])i?b?|b?)", text.strip().lower())
    size = round(float(found[1]) * UNITS[found[2] or ""]) if found else 0
    if size <= 0:
        raise ValueError(f"memory of {text!r} is none; give a size such as 4GB or 800MB")
    return size
