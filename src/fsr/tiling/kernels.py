"""What makes rows of one feature map from rows of another.

A kernel is given a window (rows, W, C), channels last: the rows it asks for above and below those that its own
correspond to, beyond the image zero or the outermost row again. It returns rows as wide as the image it makes.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsr.tiling.winograd import WinogradConvolution, pays

BICUBIC_REACH = 2  # low-resolution pixels to either side
BICUBIC_A = -0.75  # torch's
BICUBIC_BLOCK = 8  # low-resolution columns of one product


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
    """torch's bicubic enlargement without antialiasing, a = -0.75, as products with small matrices of its weights."""

    down, edge, channels, dtype = 1, "repeat", None, None
    above = below = BICUBIC_REACH

    def __init__(self, scale: int) -> None:
        self.up = scale

    def __call__(self, window: Tensor) -> Tensor:
        rows, width, channels = len(window) - 2 * BICUBIC_REACH, window.shape[1], window.shape[2]
        blocks = -(-width // BICUBIC_BLOCK)
        reach = torch.arange(-BICUBIC_REACH, blocks * BICUBIC_BLOCK + BICUBIC_REACH, device=window.device)
        padded = window[:, reach.clamp(0, width - 1)].float()
        across = padded.unfold(1, BICUBIC_BLOCK + 2 * BICUBIC_REACH, BICUBIC_BLOCK).transpose(-1, -2)
        wide = torch.matmul(bicubic_matrix(BICUBIC_BLOCK, self.up).to(padded), across)
        wide = wide.view(len(window), -1, channels)[:, : width * self.up].flatten(1)
        made = torch.matmul(bicubic_matrix(rows, self.up).to(wide), wide)
        return made.view(rows * self.up, width * self.up, channels).to(window.dtype)


@lru_cache(maxsize=64)
def bicubic_matrix(count: int, scale: int) -> Tensor:
    """Weights (scale count, count + 4) that make of `count` pixels, and two on each side, `scale` times as many."""
    place = (torch.arange(count * scale, dtype=torch.float64) + 0.5) / scale - 0.5
    distance = (place[:, None] - torch.arange(-BICUBIC_REACH, count + BICUBIC_REACH)).abs()
    near = (BICUBIC_A + 2) * distance**3 - (BICUBIC_A + 3) * distance**2 + 1
    far = BICUBIC_A * (distance**3 - 5 * distance**2 + 8 * distance - 4)
    return torch.where(distance <= 1, near, torch.where(distance < 2, far, 0.0))


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
        weight, bias = (_patch_first(parameter, patch) for parameter in (velocity.weight, velocity.bias))
        deviation = std.repeat(patch**2)
        weight, bias = weight * deviation.view(-1, 1, 1, 1), bias * deviation
        self.gated = gate is not None
        if gate is not None:
            weight = torch.cat([weight, _patch_first(gate.weight, patch)])
            bias = torch.cat([bias, _patch_first(gate.bias, patch)])
        self.convolution = plain_convolution(weight.to(dtype), bias.to(dtype))
        self.channels, self.up, self.dtype = len(std), patch, dtype

    def __call__(self, window: Tensor) -> Tensor:
        made, patch = self.convolution(window), self.up
        rows, width, _ = made.shape
        velocity = made[..., : self.channels * patch**2].unflatten(-1, (patch, patch, self.channels))
        if self.gated:
            gate = torch.sigmoid(made[..., self.channels * patch**2 :]).unflatten(-1, (patch, patch, -1))
            velocity *= gate
        return velocity.transpose(1, 2).reshape(rows * patch, width * patch, self.channels)


def _patch_first(parameter: Tensor, patch: int) -> Tensor:
    """Outputs (C patch^2, ...) in the order (patch^2, C), so that a pixel's channels lie together."""
    return parameter.view(-1, patch**2, *parameter.shape[1:]).transpose(0, 1).reshape(parameter.shape)
