"""Following a computation on tensors without values: which storages live when, in which precision."""

import weakref
from typing import Any

import torch
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, UntypedStorage, nn
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry


class Tracer(TorchDispatchMode):
    """Bytes of the storages made inside the block, and what was computed.

    A storage counts from the operation that makes it until nothing refers to it, autograd's saved tensors included;
    views and results in place count nothing. What a kernel holds only while it runs is not seen.

    Attributes:
        live: bytes of the storages that are still alive. peak: the most they have been.
        flops: floating-point operations of convolutions, matrix products and attention, by torch's formulas.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live, self.peak, self.flops = 0, 0, 0

    def __torch_dispatch__(
        self, func: OpOverload, types: tuple, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation; count it, and the storages of its results that were not its inputs'."""
        kwargs = kwargs or {}
        results = func(*args, **kwargs)
        given = _storages((args, kwargs))
        for key, storage in _storages(results).items():
            if key not in given:
                self.live += storage.nbytes()
                weakref.finalize(storage, self._free, storage.nbytes())
        self.peak = max(self.peak, self.live)
        if func.overloadpacket in flop_registry:
            self.flops += flop_registry[func.overloadpacket](*args, **kwargs, out_val=results)
        return results

    def _free(self, size: int) -> None:
        self.live -= size


def _storages(values: Any) -> dict[int, UntypedStorage]:
    """The storages of the tensors in nested containers, by identity."""
    storages = (leaf.untyped_storage() for leaf in tree_leaves(values) if isinstance(leaf, Tensor))
    return {id(storage): storage for storage in storages}


def follow_cuda(module: nn.Module) -> None:
    """Make the CPU's autocast choose precisions in `module` as CUDA's does: group norm and enlargement in float32."""
    for part in module.modules():
        if isinstance(part, nn.GroupNorm):
            part.float()
        if isinstance(part, nn.GroupNorm | nn.Upsample | Upsample2D):
            part.register_forward_pre_hook(_widened)


def _widened(_: nn.Module, args: tuple) -> tuple:
    """A module's arguments, in float32 where autocast is on."""
    if not torch.is_autocast_enabled("cpu"):
        return args
    return tuple(value.float() if isinstance(value, Tensor) else value for value in args)
