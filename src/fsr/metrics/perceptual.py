"""LPIPS, where its backbone is at hand."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

BACKBONES = {"alex": "alexnet-owt-7be5be79.pth", "vgg": "vgg16-397923af.pth"}


@dataclass(frozen=True)
class Lpips:
    """A loaded LPIPS, or the reason why there is none. Call it on images (B, 3, H, W) in [0, 1]; lower is closer."""

    network: Any | None
    reason: str

    @torch.inference_mode()
    def __call__(self, images: Tensor, targets: Tensor) -> float:
        return float(self.network(images * 2 - 1, targets * 2 - 1).mean())


def load_lpips(setting: str, device: str, load: Callable[..., Any] | None = None) -> Lpips:
    """LPIPS as benchmark.lpips asks: "off"; "auto" (alex, if its backbone is in torch's hub folder); or a backbone.

    Args:
        load: constructor of the network; None takes `lpips.LPIPS`.

    Raises:
        FileNotFoundError: a backbone was asked for by name and can be neither found nor downloaded.
    """
    if setting == "off":
        return Lpips(None, "LPIPS is switched off (benchmark.lpips)")
    name = "alex" if setting == "auto" else setting
    weights = Path(torch.hub.get_dir(), "checkpoints", BACKBONES[name])
    if setting == "auto" and not weights.is_file():
        return Lpips(
            None, f"LPIPS backbone {weights.name} is not at hand; set benchmark.lpips to {name} to download it"
        )
    if load is None:
        from lpips import LPIPS as load  # noqa: N811 - heavy import, only where the metric is used
    try:
        return Lpips(load(net=name, verbose=False).to(device).eval(), "")
    except OSError as error:
        raise FileNotFoundError(
            f"LPIPS ({name}) was asked for but {weights.name} cannot be downloaded; put it into {weights.parent}, or "
            "set benchmark.lpips to auto"
        ) from error
