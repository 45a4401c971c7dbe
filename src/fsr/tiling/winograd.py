"""3x3 convolutions with fewer products: four outputs from 16 products of a transformed 4x4 tile, not from 36.

In float32 that rounds no more than the direct way does; in narrower types it would. Source: Lavin and Gray, Fast
Algorithms for Convolutional Neural Networks, 2016, F(2x2, 3x3).
"""

import torch
from torch import Tensor

LEAST_PRODUCT = 64 * 128  # of channels in and out; with fewer, the transforms take as long as what they save
TILES = 512  # in one product of matrices: what a processor's cache holds
KERNEL = ((1.0, 0.0, 0.0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0.0, 0.0, 1.0))


def pays(weight: Tensor, stride: int, groups: int) -> bool:
    """Whether a convolution is one that this way makes faster."""
    plain = weight.shape[2:] == (3, 3) and stride == 1 and groups == 1
    exact = weight.dtype == torch.float32 and weight.device.type == "cpu"
    return plain and exact and weight.shape[0] * weight.shape[1] >= LEAST_PRODUCT


class WinogradConvolution:
    """A 3x3 convolution with one zero beyond the image, a kernel of `fsr.tiling.kernels`."""

    up, down, above, below, edge = 1, 1, 1, 1, "zero"

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        transform = torch.tensor(KERNEL, dtype=torch.float64)
        transformed = torch.einsum("ai,bj,ocij->abco", transform, transform, weight.double())
        self.weight = transformed.flatten(0, 1).float().contiguous()  # (16, C, O)
        self.bias, self.channels, self.dtype = bias, len(weight), weight.dtype

    def __call__(self, window: Tensor) -> Tensor:
        rows, width, channels = len(window) - 2, window.shape[1], window.shape[2]
        if rows % 2:
            window = torch.cat([window, window.new_zeros(1, width, channels)])
        down, across = (rows + 1) // 2, (width + 1) // 2
        between = window.new_empty(4, down, 2 * across + 2, channels)
        between[:, :, 0] = between[:, :, width + 1 :] = 0
        self._down(window, between[:, :, 1 : width + 1])
        made = window.new_empty(down, 2, across, 2, self.channels)
        some = max(1, TILES // down)
        for start in range(0, across, some):
            stop = min(start + some, across)
            self._tiles(between[:, :, 2 * start : 2 * stop + 2], made[:, :, start:stop])
        made = made.view(2 * down, 2 * across, self.channels)
        return made[:rows, :width]

    @staticmethod
    def _down(rows: Tensor, out: Tensor) -> None:
        """The input transform along columns: four rows of every pair of rows (n + 2, W, C)."""
        first, second, third, fourth = rows[:-2:2], rows[1:-1:2], rows[2::2], rows[3::2]
        _transform(first, second, third, fourth, out.unbind(0))

    def _tiles(self, between: Tensor, made: Tensor) -> None:
        """Outputs (down, 2, across, 2, O) of rows that are transformed along columns (4, down, 2 across + 2, C)."""
        down, across = made.shape[0], made.shape[2]
        first, second = between[:, :, :-2:2], between[:, :, 1:-1:2]
        third, fourth = between[:, :, 2::2], between[:, :, 3::2]
        tiles = between.new_empty(4, 4, down, across, between.shape[-1])
        _transform(first, second, third, fourth, tiles.unbind(1))
        products = torch.bmm(tiles.view(16, down * across, -1), self.weight).view(4, 4, down, across, -1)
        halves = products.new_empty(2, *products.shape[1:])
        _gather(products.unbind(0), halves.unbind(0))
        for half, rows in zip(halves, made.unbind(1), strict=True):
            _gather(half.unbind(0), rows.unbind(2))
        if self.bias is not None:
            made += self.bias


def _transform(first: Tensor, second: Tensor, third: Tensor, fourth: Tensor, out: tuple[Tensor, ...]) -> None:
    torch.sub(first, third, out=out[0])
    torch.add(second, third, out=out[1])
    torch.sub(third, second, out=out[2])
    torch.sub(second, fourth, out=out[3])


def _gather(parts: tuple[Tensor, ...], out: tuple[Tensor, ...]) -> None:
    torch.add(parts[0], parts[1], out=out[0]).add_(parts[2])
    torch.sub(parts[1], parts[2], out=out[1]).sub_(parts[3])
