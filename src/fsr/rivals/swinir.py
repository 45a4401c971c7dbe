"""What LUA and LSRNA share: SwinIR's body, on latents.

Source: Liang et al., SwinIR: Image Restoration Using Swin Transformer, 2021. The layers are spandrel's.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from spandrel.architectures.SwinIR import SwinIR
from torch import Tensor

MLP_RATIO = 2.0


class SwinBody(SwinIR):
    """Deep features (B, embed, h, w) of latents (B, channels, h, w), whose sides are multiples of `window`.

    A 3x3 convolution, residual groups of Swin layers, a 3x3 convolution, and a skip around all but the first. Values
    are taken as they are: no mean is subtracted, nothing is scaled. Layers are never dropped in training, which would
    draw from a global random state.

    Args:
        depths: Swin layers of each residual group.
        heads: of every layer; a divisor of `embed`.
        window: side of the attention window in latent pixels.

    Raises:
        ValueError: `embed` is not a multiple of `heads`, or `window` is below 2.
    """

    def __init__(self, channels: int, embed: int, depths: list[int], heads: int, window: int) -> None:
        if embed % heads:
            raise ValueError(f"embed {embed} is not a multiple of heads {heads}; change one of them")
        if window < 2:
            raise ValueError(f"window {window} cannot be shifted; choose 2 or more")
        super().__init__(
            img_size=2 * window,
            in_chans=channels,
            embed_dim=embed,
            depths=list(depths),
            num_heads=[heads] * len(depths),
            window_size=window,
            mlp_ratio=MLP_RATIO,
            drop_path_rate=0.0,
        )
        del self.conv_last

    def forward(self, x: Tensor) -> Tensor:
        """Deep features of x."""
        shallow = self.conv_first(x)
        return self.conv_after_body(self.forward_features(shallow)) + shallow


def reflected(x: Tensor, multiple: int) -> Tensor:
    """x (B, C, H, W) continued to the right and below by reflection until its sides are multiples of `multiple`.

    Where the sides are shorter than what is missing, the reflection is reflected again, as numpy.pad does.
    """
    for dim in (-2, -1):
        length = x.shape[dim]
        wanted = math.ceil(length / multiple) * multiple
        if wanted != length:
            x = x.index_select(dim, _reflected_index(length, wanted, x.device))
    return x


def _reflected_index(length: int, wanted: int, device: torch.device) -> Tensor:
    """0, 1, ..., length - 1, length - 2, ..., 0, 1, ... (wanted,)."""
    last = length - 1
    return last - (torch.arange(wanted, device=device) % max(2 * last, 1) - last).abs()


def body_sizes(state: Mapping[str, Tensor], path: Path | str) -> dict[str, object]:
    """channels, embed, depths, heads and window of the SwinBody whose tensors are at "body." in `state`.

    Raises:
        ValueError: there is none.
    """
    blocks = [re.match(r"body\.layers\.(\d+)\.residual_group\.blocks\.(\d+)\.norm1\.weight", name) for name in state]
    layers = [int(found.group(1)) for found in blocks if found]
    table = state.get("body.layers.0.residual_group.blocks.0.attn.relative_position_bias_table")
    first = state.get("body.conv_first.weight")
    if table is None or first is None or table.ndim != 2 or first.ndim != 4:
        raise ValueError(f"{path} holds no SwinIR body (conv_first, layers.0, ...); give the published file")
    return {
        "channels": first.shape[1],
        "embed": first.shape[0],
        "depths": [layers.count(layer) for layer in range(max(layers, default=0) + 1)],
        "heads": table.shape[1],
        "window": (math.isqrt(table.shape[0]) + 1) // 2,
    }
