"""Freed memory is kept, so that its pages are cleared once and not for each block after it; until it is given back."""

import os
import platform
import subprocess
import sys

import pytest

from fsr.allocation import KEPT

BLOCK = 1 << 26
FAULTS = f"""
import resource
def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
bytearray(b"1") * {BLOCK}
before = faults()
for _ in range(20): bytearray(b"1") * {BLOCK}
print(faults() - before)
"""
GAPS = """
from pathlib import Path
from fsr.allocation import give_back
def resident(): return int(Path("/proc/self/statm").read_text().split()[1])
blocks = [bytearray(b"1") * (1 << 20) for _ in range(200)]
full = resident()
del blocks[::2]
kept = resident()
give_back()
print(full, kept, resident())
"""
on_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have other allocators")


def answers(program: str, environment: dict[str, str]) -> list[int]:
    """The numbers that a program prints in a process of this environment."""
    plain = {name: value for name, value in os.environ.items() if name not in KEPT}
    said = subprocess.run(
        [sys.executable, "-c", program], env=plain | environment, check=True, capture_output=True, text=True
    )
    return [int(number) for number in said.stdout.split()]


@on_glibc
def test_blocks_after_the_first_find_their_pages():
    assert 10 * answers(FAULTS, KEPT)[0] < answers(FAULTS, {})[0]  # of whatever size the system's pages are


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@on_glibc
def test_what_lies_free_between_blocks_is_given_back():
    full, kept, left = answers(GAPS, KEPT)
    assert kept > 0.9 * full
    assert left < 0.7 * full
