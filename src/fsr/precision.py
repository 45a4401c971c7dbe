"""The precision a job computes in."""

import torch

from fsr.config import Runtime

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
NATIVE_BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")  # names of CPU capabilities, x86 and ARM


def autocast_dtype(runtime: Runtime) -> str:
    """`runtime.dtype`; for "auto", bfloat16 where the device computes in it, else float32.

    A CPU without bfloat16 instructions emulates them, at a tenth of float32's speed.
    """
    if runtime.dtype != "auto":
        return runtime.dtype
    if torch.device(runtime.device).type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        capabilities = torch.cpu.get_capabilities()
        native = any(capabilities.get(name, False) for name in NATIVE_BFLOAT16)
    return "bfloat16" if native else "float32"


def autocast(device: str, dtype: str) -> torch.autocast:
    """A context in which convolutions and matrix products run in `dtype`; for float32, one that changes nothing."""
    return torch.autocast(torch.device(device).type, DTYPES[dtype], enabled=dtype != "float32")
