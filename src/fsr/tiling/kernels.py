"""What makes rows of one feature map from rows of another.

A kernel is given a window (rows, W, C), channels last: the rows it asks for above and below those that its own
correspond to, beyond the image zero or the outermost row again. It returns rows as wide as the image it makes.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsr.tiling.winograd import WinogradConvolution, pays

BICUBIC_REACH = 2  # low-resolution pixels to either side


class Kernel(Protocol):
    """Attributes:
    up, down: it makes up/down times as many rows, and columns, as it is given.
    above, below: rows of the source beside those that correspond to its own.
    edge: what lies beyond the image.
    channels: of what it makes; None for as many as it is given. dtype: it computes in; None for the source's.
    """

    up: int
    down: int
    above: int
    below: int
    edge: Literal["zero", "repeat"]
    channels: int | None
    dtype: torch.dtype | None

    def __call__(self, window: Tensor) -> Tensor: ...


def as_image(rows: Tensor) -> Tensor:
    """(rows, W, C) as (1, C, rows, W), the same memory."""
    return rows.permute(2, 0, 1)[None]


def as_rows(image: Tensor) -> Tensor:
    """(1, C, rows, W) as (rows, W, C), the same memory where it is channels last."""
    return image[0].permute(1, 2, 0)


@dataclass(frozen=True)
class Same:
    """Rows as they are, for what a step does before and after its kernel."""

    channels: int | None = None
    dtype: torch.dtype | None = None
    up: int = 1
    down: int = 1
    above: int = 0
    below: int = 0
    edge: Literal["zero"] = "zero"

    def __call__(self, window: Tensor) -> Tensor:
        return window


class Convolution:
    """A convolution with zeros beyond the image.

    Args:
        leading: columns of zeros to the left, and rows above; to the right and below there are as many as make the
            output as large as the input, divided by the stride.
    """

    up, edge = 1, "zero"

    def __init__(
        self, weight: Tensor, bias: Tensor | None, *, stride: int = 1, leading: int = 1, groups: int = 1
    ) -> None:
        self.weight = weight.contiguous(memory_format=torch.channels_last)
        self.bias, self.down, self.groups = bias, stride, groups
        self.above, self.below = leading, weight.shape[-1] - stride - leading
        self.channels, self.dtype = len(weight), weight.dtype

    def __call__(self, window: Tensor) -> Tensor:
        if self.weight.shape[2:] == (1, 1) and self.down == self.groups == 1:
            return F.linear(window, self.weight[..., 0, 0], self.bias)
        image = as_image(window)
        if self.above == self.below:
            padding = (0, self.above)
        else:
            image, padding = F.pad(image, (self.above, self.below)), (0, 0)
        return as_rows(F.conv2d(image, self.weight, self.bias, self.down, padding, groups=self.groups))

    def in_float32(self) -> "Convolution":
        """The same, computed in float32."""
        bias = None if self.bias is None else self.bias.float()
        return Convolution(self.weight.float(), bias, stride=self.down, leading=self.above, groups=self.groups)


def plain_convolution(weight: Tensor, bias: Tensor | None) -> Kernel:
    """The kernel of a 3x3 convolution with one zero beyond the image: the one that is faster."""
    return WinogradConvolution(weight, bias) if pays(weight, 1, 1) else Convolution(weight, bias)


class EnlargedConvolution:
    """A 3x3 convolution of the nearest-neighbour enlargement by 2, which is never made.

    Each of the four pixels that a pixel becomes sees only 2x2 different ones, so its kernel is one of 2x2 sums of the
    3x3 weights: 16 products for four pixels, not 36.
    """

    up, down, above, below, edge = 2, 1, 1, 1, "zero"

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        upper, lower = _halves(weight.float(), 2)
        pairs = [torch.cat(_halves(rows, 3)) for rows in (upper, lower)]
        self.weights = [pair.to(weight.dtype).contiguous(memory_format=torch.channels_last) for pair in pairs]
        self.bias = None if bias is None else bias.repeat(2)
        self.channels, self.dtype = len(weight), weight.dtype

    def __call__(self, window: Tensor) -> Tensor:
        rows, width = len(window) - 2, window.shape[1]
        enlarged = window.new_empty(rows, 2, width, 2, self.channels)
        for a, weight in enumerate(self.weights):
            both = as_rows(F.conv2d(as_image(window[a : a + rows + 1]), weight, self.bias, padding=(0, 1)))
            for b, part in enumerate(both.split(self.channels, dim=-1)):
                enlarged[:, a, :, b] = part[:, b : b + width]
        return enlarged.view(2 * rows, 2 * width, self.channels)


def _halves(weight: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Kernels of the first and of the second of the two pixels a pixel becomes along `dim`."""
    first, middle, last = weight.split(1, dim)
    return torch.cat([first, middle + last], dim), torch.cat([first + middle, last], dim)


class Bicubic:
    """torch's bicubic enlargement without antialiasing, a = -0.75."""

    down, edge, channels, dtype = 1, "repeat", None, None
    above = below = BICUBIC_REACH

    def __init__(self, scale: int) -> None:
        self.up = scale

    def __call__(self, window: Tensor) -> Tensor:
        size = (len(window) * self.up, window.shape[1] * self.up)
        enlarged = F.interpolate(as_image(window), size=size, mode="bicubic", align_corners=False)
        return as_rows(enlarged)[self.above * self.up : -self.below * self.up]


class PatchConvolution:
    """A 3x3 convolution of patches of patch x patch pixels, as channels of a coarser grid.

    Args:
        weight: (O, C patch^2, 3, 3), its inputs in the order of torch's pixel_unshuffle.
    """

    up, edge = 1, "zero"

    def __init__(self, weight: Tensor, bias: Tensor | None, patch: int) -> None:
        out, inputs = weight.shape[:2]
        apart = weight.view(out, inputs // patch**2, patch, patch, 3, 3)
        self.convolution = plain_convolution(apart.permute(0, 2, 3, 1, 4, 5).reshape(weight.shape), bias)
        self.down = self.above = self.below = patch
        self.channels, self.dtype = out, weight.dtype

    def __call__(self, window: Tensor) -> Tensor:
        rows, width, channels = window.shape
        patch = self.down
        apart = window.view(rows // patch, patch, width // patch, patch, channels)
        return self.convolution(apart.transpose(1, 2).reshape(rows // patch, width // patch, -1))


class VelocityConvolution:
    """Velocity in features from the field's last hidden ones: gate * velocity * deviation, patches laid out as pixels.

    Args:
        velocity, gate: the field's last layers, their outputs in the order of torch's pixel_shuffle.
        std: (C,), the deviation of each feature channel.
    """

    down, above, below, edge = 1, 1, 1, "zero"

    def __init__(
        self, velocity: nn.Conv2d, gate: nn.Conv2d | None, std: Tensor, patch: int, dtype: torch.dtype
    ) -> None:
        layers = [velocity] if gate is None else [velocity, gate]
        weight = torch.cat([_patch_first(layer.weight, patch) for layer in layers]).to(dtype)
        bias = torch.cat([_patch_first(layer.bias, patch) for layer in layers]).to(dtype)
        self.convolution = plain_convolution(weight, bias)
        self.std, self.up, self.gated = std.to(dtype), patch, gate is not None
        self.channels, self.dtype = velocity.out_channels // patch**2, weight.dtype

    def __call__(self, window: Tensor) -> Tensor:
        made, patch = self.convolution(window), self.up
        rows, width, _ = made.shape
        parts = made.split([self.channels * patch**2, made.shape[-1] - self.channels * patch**2], dim=-1)
        velocity = parts[0].reshape(rows, width, patch**2, self.channels) * self.std
        if self.gated:
            velocity *= torch.sigmoid(parts[1].reshape(rows, width, patch**2, -1))
        apart = velocity.view(rows, width, patch, patch, self.channels).transpose(1, 2)
        return apart.reshape(rows * patch, width * patch, self.channels)


def _patch_first(parameter: Tensor, patch: int) -> Tensor:
    """Outputs (C patch^2, ...) in the order (patch^2, C), so that a pixel's channels lie together."""
    return parameter.view(-1, patch**2, *parameter.shape[1:]).transpose(0, 1).reshape(parameter.shape)
