"""Perceptual distances between images: LPIPS, and ST-LPIPS, whose weights come with its package."""

import re
import warnings
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Literal

import lpips
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import AlexNet_Weights, VGG16_Weights

from fsr.config import Perceptual
from fsr.metrics.features import download_to_hub, hub_file, load_weights
from fsr.precision import autocast

BACKBONES = {"lpips_alex": AlexNet_Weights.IMAGENET1K_V1.url, "lpips_vgg": VGG16_Weights.IMAGENET1K_V1.url}
ST_LPIPS_WEIGHTS = Path(str(files("stlpips_pytorch")), "weights/vST0.0/alex_shift_tolerant.pth")
LEAST_SIDE = {"lpips_alex": 31, "lpips_vgg": 16, "st_lpips": 21}


@dataclass(frozen=True)
class PerceptualMetric:
    """A loaded metric, or the reason why there is none; its convolutions run in `dtype`.

    Call it on images and targets (B, 3, H, W) in [0, 1] for the mean of their B distances; lower is closer. Where an
    image is compared with several, `features` of each are taken once, and `distance` is between those.
    """

    name: str
    network: nn.Module | None
    reason: str = ""
    dtype: str = "float32"

    def __call__(self, images: Tensor, targets: Tensor) -> float:
        """The mean distance.

        Raises:
            ValueError: images and targets differ in shape, or are too small for the network; nothing is padded.
        """
        if images.shape != targets.shape:
            raise ValueError(
                f"{self.name} compares images of one shape, not {tuple(images.shape)} and {tuple(targets.shape)}; crop "
                "or resize one of them"
            )
        return self.distance(self.features(images), self.features(targets))

    @torch.inference_mode()
    def features(self, images: Tensor) -> list[Tensor]:
        """Of each layer, features of unit length over channels.

        Raises:
            ValueError: the images are too small for the network.
        """
        if min(images.shape[-2:]) < LEAST_SIDE[self.name]:
            raise ValueError(
                f"{self.name} needs sides of {LEAST_SIDE[self.name]} pixels or more, not {tuple(images.shape[-2:])}; "
                f"take larger images, or set benchmark.perceptual.{self.name} to skip"
            )
        with autocast(images.device.type, self.dtype):
            outputs = self.network.net(self.network.scaling_layer(images * 2 - 1))
        return [lpips.normalize_tensor(output.float()) for output in outputs]

    @torch.inference_mode()
    def distance(self, of_images: Sequence[Tensor], of_targets: Sequence[Tensor]) -> float:
        """The mean distance of images and targets with these features."""
        weights = [getattr(self.network, f"lin{index}").model[-1].weight for index in range(self.network.L)]
        found = [
            F.conv2d((a - b).square(), weight).double().mean()
            for a, b, weight in zip(of_images, of_targets, weights, strict=True)
        ]
        return torch.stack(found).sum().item()


def load_perceptual(settings: Perceptual, device: str, dtype: str = "float32") -> list[PerceptualMetric]:
    """A metric for each of lpips_alex, lpips_vgg and st_lpips that is not "skip", in this order.

    LPIPS (Zhang et al. 2018, arXiv 1801.03924) needs a backbone in torch hub's checkpoints: "auto" takes it where it
    stands there and gives a reason where it does not; "require" downloads it. ST-LPIPS (Ghildyal and Liu 2022, arXiv
    2207.13686; AlexNet) is another metric, whose numbers are not LPIPS's. No weights are unpickled.

    Raises:
        FileNotFoundError: what is required can be neither found nor downloaded; says what to do.
        ValueError: a damaged file of weights.
    """
    return [_load(name, setting, device, dtype) for name, setting in settings if setting != "skip"]


def _load(name: str, setting: Literal["auto", "require"], device: str, dtype: str) -> PerceptualMetric:
    url = BACKBONES.get(name)
    if url and setting == "require":
        download_to_hub(url)
    path = hub_file(url) if url else ST_LPIPS_WEIGHTS
    if not path.is_file():
        remedy = "set it to require to download them" if url else "install stlpips-pytorch again"
        reason = f"weights {path.name} of benchmark.perceptual.{name} are not at hand; {remedy}"
        if setting == "require":
            raise FileNotFoundError(reason)
        return PerceptualMetric(name, None, reason)
    network = _lpips(name.removeprefix("lpips_"), path) if url else _st_lpips(path)
    network = network.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)
    return PerceptualMetric(name, network, dtype=dtype)


def _lpips(backbone: str, path: Path) -> nn.Module:
    """LPIPS v0.1: linear weights of its package, backbone of `path`."""
    network = _untrained(net=backbone)
    load_weights(network.net, path, lambda name: "features." + name.split(".", 1)[1])
    return network


def _st_lpips(path: Path) -> nn.Module:
    """LPIPS's formula on the shift-tolerant backbone, every weight of `path`.

    Its package would compute the same, but imports others that it does not declare.
    """
    network = _untrained(net="alex", pretrained=False)
    network.net = _ShiftTolerantAlexNet()
    load_weights(network, path, lambda name: re.sub(r"^lins\.(\d)", r"lin\1", name))
    return network


def _untrained(**options: str | bool) -> lpips.LPIPS:
    """LPIPS with a random backbone, so that it loads none itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it uses arguments torchvision has deprecated
        return lpips.LPIPS(pnet_rand=True, verbose=False, **options)


class _BlurPool(nn.Module):
    """Every second pixel of the blurred input, reflected by two pixels at its border."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("filt", torch.zeros(channels, 1, 3, 3))

    def forward(self, features: Tensor) -> Tensor:
        return F.conv2d(F.pad(features, (2,) * 4, mode="reflect"), self.filt, stride=2, groups=len(self.filt))


class _ShiftTolerantAlexNet(nn.Module):
    """AlexNet without strides but in blur pools; the outputs of its five ReLUs. Names are those of its weights."""

    def __init__(self) -> None:
        super().__init__()
        layers = [
            *(nn.Conv2d(3, 64, 11, padding=2), _BlurPool(64), nn.ReLU()),
            *(nn.MaxPool2d(3, 1), _BlurPool(64), nn.Conv2d(64, 192, 5, padding=2), nn.ReLU()),
            *(nn.MaxPool2d(3, 1), _BlurPool(192), nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()),
        ]
        for number, (start, end) in enumerate(pairwise((0, 3, 7, 11, 13, 15)), start=1):
            named = OrderedDict((str(index), layers[index]) for index in range(start, end))
            self.add_module(f"slice{number}", nn.Sequential(named))

    def forward(self, images: Tensor) -> list[Tensor]:
        outputs = []
        for part in self.children():
            images = part(images)
            outputs.append(images)
        return outputs
