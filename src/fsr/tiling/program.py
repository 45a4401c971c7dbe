"""A network as a list of steps, each of which makes one feature map from another, row by row.

Whatever needs all of a map before it can go on ends a step: group normalisation (its statistics are added up while the
map is written, and applied where the next step reads it), attention. So a map is made strip by strip, each strip equal
to those rows of the whole, and no pixel is computed twice.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from fsr.tiling.kernels import Convolution, EnlargedConvolution, Kernel, Same
from fsr.tiling.winograd import WinogradConvolution, pays

Pointwise = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Norm:
    """Group normalisation over the whole image; weight and bias (C,), float32."""

    groups: int
    eps: float
    weight: Tensor
    bias: Tensor


@dataclass(frozen=True)
class Affine:
    """x * weight + bias per channel, (C,), float32."""

    weight: Tensor
    bias: Tensor


@dataclass(frozen=True)
class Value:
    """A feature map as the next step will see it: one that was written, and what is still to be done to it."""

    register: int
    channels: int
    norm: Norm | Affine | None = None
    acts: tuple[Pointwise, ...] = ()
    enlarged: bool = False

    @property
    def plain(self) -> bool:
        return self.norm is None and not self.acts and not self.enlarged


@dataclass(frozen=True)
class Addend:
    """A map that is added, of the size of the one that is made; through a 1x1 convolution where there is one."""

    register: int
    convolution: Convolution | None = None


@dataclass(frozen=True)
class Step:
    """target = after(kernel(acts(norm(source))) + addends)."""

    source: Value
    target: int
    kernel: Kernel
    channels: int
    addends: tuple[Addend, ...] = ()
    after: tuple[Pointwise, ...] = ()

    @property
    def reads(self) -> tuple[int, ...]:
        return (self.source.register, *(addend.register for addend in self.addends))


@dataclass(frozen=True)
class Whole:
    """target = run(source as it stands), over all of it at once: attention on the latent's grid."""

    source: Value
    target: int
    run: Callable[[Tensor, Affine], Tensor]
    channels: int

    @property
    def reads(self) -> tuple[int, ...]:
        return (self.source.register,)


@dataclass
class Program:
    """Steps in order; register 0 is what the network is given, the last one's target what comes out.

    Attributes:
        device, dtype: where and in what it computes; weights are cast, coordinates and statistics are not.
    """

    device: torch.device
    dtype: torch.dtype
    steps: list[Step | Whole] = field(default_factory=list)
    registers: int = 1

    @staticmethod
    def start(channels: int) -> Value:
        return Value(0, channels)

    def convolve(
        self,
        value: Value,
        layer: nn.Conv2d,
        addends: tuple[Addend, ...] = (),
        after: tuple[Pointwise, ...] = (),
        channels: int | None = None,
    ) -> Value:
        """A convolution layer of `value`.

        Raises:
            ValueError: a kind of convolution that strips cannot make.
        """
        return self.step(value, kernel_of(layer, value.enlarged, self.dtype), addends, after, channels)

    def step(
        self,
        value: Value,
        kernel: Kernel,
        addends: tuple[Addend, ...] = (),
        after: tuple[Pointwise, ...] = (),
        channels: int | None = None,
    ) -> Value:
        """A new map; its `channels` are the kernel's, unless what comes `after` leaves others."""
        channels = channels or kernel.channels or value.channels
        self.steps.append(Step(value, self.registers, kernel, channels, addends, after))
        self.registers += 1
        return Value(self.registers - 1, channels)

    def whole(self, value: Value, run: Callable[[Tensor, Affine], Tensor]) -> Value:
        """A new map of the same size, made of all of `value`, whose norm and nothing else is left to `run`."""
        self.steps.append(Whole(value, self.registers, run, value.channels))
        self.registers += 1
        return Value(self.registers - 1, value.channels)

    def written(self, value: Value) -> Value:
        """`value` with nothing left to be done.

        Raises:
            ValueError: it is to be enlarged, and no convolution follows.
        """
        if value.enlarged:
            raise ValueError("an enlargement without a convolution cannot be made in strips; decode with tile off")
        if value.plain:
            return value
        made_last = self.steps and self.steps[-1].target == value.register
        if value.norm is None and made_last and isinstance(self.steps[-1], Step):
            last = self.steps[-1]
            self.steps[-1] = replace(last, after=(*last.after, *value.acts))
            return Value(value.register, value.channels)
        return self.step(value, Same(value.channels))

    def end_in_float32(self) -> None:
        """Have the last convolution in float32: few channels leave it, and narrower numbers are levels apart."""
        last = self.steps[-1]
        if isinstance(last, Step) and isinstance(last.kernel, Convolution):
            self.steps[-1] = replace(last, kernel=last.kernel.in_float32())

    def narrowed(self, value: Value, channels: int) -> Value:
        """The first `channels` of a map, in the step that makes it."""
        last = self.steps[-1]
        self.steps[-1] = replace(last, channels=channels, after=(*last.after, lambda y: y[..., :channels]))
        return Value(value.register, channels)


def kernel_of(layer: nn.Conv2d, enlarged: bool, dtype: torch.dtype) -> Kernel:
    """The kernel of a convolution layer in `dtype`, of the nearest-neighbour enlargement by 2 where `enlarged`.

    Raises:
        ValueError: its output is not as large as its input, divided by the stride, or it is no 1x1 or 3x3.
    """
    size, stride = layer.kernel_size[0], layer.stride[0]
    known = {(1, 1), (3, 1)} if enlarged or layer.groups > 1 else {(1, 1), (3, 1), (3, 2)}
    square = all(values == (values[0],) * 2 for values in (layer.kernel_size, layer.stride, layer.dilation))
    plain = layer.padding == (size // 2,) * 2 and layer.padding_mode == "zeros" and layer.dilation == (1, 1)
    if (size, stride) not in known or not square or not plain or (enlarged and (size, layer.groups) != (3, 1)):
        raise ValueError(f"{layer} cannot be made in strips; decode with tile off")
    weight, bias = layer.weight.detach().to(dtype), None if layer.bias is None else layer.bias.detach().to(dtype)
    if enlarged:
        return EnlargedConvolution(weight, bias)
    if pays(weight, stride, layer.groups):
        return WinogradConvolution(weight, bias)
    return Convolution(weight, bias, stride=stride, leading=size // 2, groups=layer.groups)


def group_norm(layer: nn.GroupNorm) -> Norm:
    """A normalisation layer's, in float32."""
    return Norm(layer.num_groups, layer.eps, layer.weight.detach().float(), layer.bias.detach().float())


def last_uses(program: Program) -> dict[int, int]:
    """The step that reads a register last, by register."""
    return {register: index for index, step in enumerate(program.steps) for register in step.reads}


def needs_statistics(program: Program) -> set[int]:
    """Registers that a later step normalises."""
    return {step.source.register for step in program.steps if isinstance(step.source.norm, Norm)}


def silu(x: Tensor) -> Tensor:
    """SiLU, in place."""
    return torch.nn.functional.silu(x, inplace=True)


def relu(x: Tensor) -> Tensor:
    """ReLU, in place."""
    return x.relu_()
