"""The machine, Python, and what torch computes on."""

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
from huggingface_hub import constants

from fsr.doctor.finding import Finding
from fsr.mirror import MIRROR_VARIABLE, mirror_root

GIB = 2**30
OLDEST = (3, 11)
LITTLE_DISK, LITTLE_MEMORY = 2 * GIB, 2 * GIB


def examine_system(mirror: str | None) -> Iterator[Finding]:
    """Python, platform, memory, disk, the hub's key and the mirror; no key is shown.

    Args:
        mirror: root of a mirror; None takes the environment variable FSR_MIRROR.
    """
    recent = sys.version_info[:2] >= OLDEST
    needs = "" if recent else f"install Python {'.'.join(map(str, OLDEST))} or newer"
    yield Finding("system", "Python", "ok" if recent else "broken", platform.python_version(), needs, "use")
    yield Finding("system", "platform", "ok", f"{platform.platform()}, {os.cpu_count()} processors")
    memory = psutil.virtual_memory()
    yield _room("memory", memory.available, memory.total, LITTLE_MEMORY, "end other programs, or give --memory")
    disk = shutil.disk_usage(Path.cwd())
    yield _room("disk here", disk.free, disk.total, LITTLE_DISK, "free some space, or work on another disk")
    key = "HF_TOKEN" in os.environ or Path(constants.HF_TOKEN_PATH).is_file()
    remedy = "set HF_TOKEN to a token of yours; only gated weights (FLUX.1-dev, FLUX.2-dev) need it"
    yield Finding("system", "key of the hub", *(("ok", "set, not shown") if key else ("missing", "", remedy)))
    if constants.HF_HUB_OFFLINE:
        yield Finding("system", "hub", "missing", "HF_HUB_OFFLINE is set: nothing is fetched", "unset HF_HUB_OFFLINE")
    yield _mirror(mirror)


def _room(name: str, free: int, total: int, little: int, remedy: str) -> Finding:
    detail = f"{free / GIB:.1f} GiB free of {total / GIB:.1f}"
    return (
        Finding("system", name, "ok", detail) if free >= little else Finding("system", name, "broken", detail, remedy)
    )


def _mirror(named: str | None) -> Finding:
    try:
        root = mirror_root(named)
    except FileNotFoundError as error:
        return Finding("system", "mirror", "broken", str(error), f"correct {MIRROR_VARIABLE}")
    if root is None:
        return Finding("system", "mirror", "missing", "", f"where you have one, set {MIRROR_VARIABLE} to its root")
    return Finding("system", "mirror", "ok", str(root))


def examine_torch() -> Iterator[Finding]:
    """torch's version and the devices it finds, with what each computes in."""
    import torch

    from fsr.precision import NATIVE_BFLOAT16

    yield Finding("torch", "torch", "ok", torch.__version__, needed="use")
    capabilities = torch.cpu.get_capabilities()
    native = any(capabilities.get(name, False) for name in NATIVE_BFLOAT16)
    bfloat16 = "bfloat16 native" if native else "bfloat16 emulated, slower than float32"
    kernels = torch.backends.cpu.get_cpu_capability()
    threads = torch.get_num_threads()
    yield Finding("torch", "cpu", "ok", f"{threads} thread{'s' * (threads > 1)}, {kernels}, {bfloat16}")
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        detail = (
            f"{properties.name}, {properties.total_memory / GIB:.1f} GiB, bfloat16 {'native' if native else 'none'}"
        )
        yield Finding("torch", f"cuda:{index}", "ok", detail)
    if torch.backends.mps.is_available():
        yield Finding("torch", "mps", "ok", "Apple GPU")
