import pytest
import torch

from fsr import precision
from fsr.precision import autocast, autocast_dtype


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [({"avx2": True}, "float32"), ({"avx512_bf16": False}, "float32"), ({"avx512_bf16": True}, "bfloat16"),
     ({"amx_bf16": True}, "bfloat16")],
)  # fmt: skip
def test_auto_is_bfloat16_where_the_cpu_computes_in_it(params, monkeypatch, capabilities, expected):
    monkeypatch.setattr(precision.torch.cpu, "get_capabilities", lambda: capabilities)
    auto = params.runtime.model_copy(update={"dtype": "auto"})
    assert autocast_dtype(auto) == expected


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_named_precision_is_taken_as_it_is(params, dtype):
    assert autocast_dtype(params.runtime.model_copy(update={"dtype": dtype})) == dtype


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_autocast_computes_in_the_named_precision(dtype):
    with autocast("cpu", dtype):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == precision.DTYPES[dtype]
