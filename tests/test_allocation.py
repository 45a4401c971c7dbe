"""Freed memory is kept: pages of a large block are cleared once, not for each block after it."""

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


def faults(environment: dict[str, str]) -> int:
    plain = {name: value for name, value in os.environ.items() if name not in KEPT}
    answer = subprocess.run(
        [sys.executable, "-c", FAULTS], env=plain | environment, check=True, capture_output=True, text=True
    )
    return int(answer.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have other allocators")
def test_blocks_after_the_first_find_their_pages():
    assert 10 * faults(KEPT) < faults({})  # of whatever size the system's pages are
