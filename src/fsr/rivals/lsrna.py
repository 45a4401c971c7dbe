"""LSRNA's LSR module: a SwinIR body on scaled latents, asked at any place (LIIF), with a bicubic skip.

Sources: Jeong et al., Latent Space Super-Resolution for Higher-Resolution Image Generation with Diffusion Models,
CVPR 2025, arXiv 2503.18446; Chen et al., Learning Continuous Image Representation with Local Implicit Image Function,
CVPR 2021.
"""

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from fsr.autoencoders import FrozenAutoencoder, weights_sha256
from fsr.config import Lsrna, Params
from fsr.rivals.published import check_channels, load_exactly, read_tensors, renamed
from fsr.rivals.swinir import SwinBody, body_sizes, reflected

PLACES = (("model", "sd"),)  # of the state dict in a published file
PUBLIC_NAMES = {"encoder.conv_before_upsample.": "to_features.", "encoder.": "body.", "imnet.layers.": "mlp."}
CHUNK = 65536  # queries answered at once
UNFOLDED = 9  # features of the 3x3 neighbourhood
PLACE = 4  # relative coordinate and cell
TIE = 1e-6  # a query half-way between two latent pixels belongs to the lower of the two shifted ones, as in LIIF
LEAST_AREA = 1e-9


class LsrnaNetwork(ModelMixin, ConfigMixin):
    """Enlarged scaled latents of any size, of scaled latents (B, channels, h, w).

    Each query is answered from the four latent pixels around it: an MLP of that pixel's 3x3 features, of the query's
    place relative to it, and of the size of the cell asked for; weighted by the area opposite; plus the bicubic
    interpolation of the input.

    Args:
        autoencoder: SHA-256 of the frozen weights it was trained for; "" for published weights.
        embed, depths, heads, window: of the body (SwinBody).
        features: channels that are unfolded.
        hidden: widths of the MLP's hidden layers.
    """

    @register_to_config
    def __init__(
        self,
        channels: int,
        autoencoder: str,
        embed: int,
        depths: list[int],
        heads: int,
        window: int,
        features: int,
        hidden: list[int],
    ) -> None:
        super().__init__()
        self.body = SwinBody(channels, embed, depths, heads, window)
        self.to_features = nn.Sequential(nn.Conv2d(embed, features, 3, padding=1), nn.LeakyReLU())
        self.mlp = nn.Sequential(nn.Linear(UNFOLDED * features + PLACE, hidden[0]))
        for width, following in zip(hidden, [*hidden[1:], channels], strict=True):
            self.mlp.extend([nn.ReLU(), nn.Linear(width, following)])

    def forward(self, z: Tensor, size: tuple[int, int], places: Tensor | None = None, chunk: int = CHUNK) -> Tensor:
        """z enlarged to `size` (H, W): (B, channels, H, W); at most `chunk` of its B H W places at once.

        With `places` (B, N, 2), y and x in [-1, 1], its pixels there alone, (B, N, channels): what is trained on.
        """
        if places is not None:
            return self.query(z, places, cell_like(places, size))
        projected, parts = self._projected(z), []
        for some in cell_centres(size, z.device).split(max(1, chunk // len(z))):
            coordinates = some.expand(len(z), -1, -1)
            parts.append(self._answered(z, projected, coordinates, cell_like(coordinates, size)))
        return torch.cat(parts, dim=1).transpose(1, 2).unflatten(2, size)

    def query(self, z: Tensor, coordinates: Tensor, cell: Tensor) -> Tensor:
        """Pixels (B, N, channels) at `coordinates` (B, N, 2), y and x in [-1, 1], with sides of `cell` (B, N, 2)."""
        return self._answered(z, self._projected(z), coordinates, cell)

    def _projected(self, z: Tensor) -> Tensor:
        """The MLP's first layer as far as it depends on a latent pixel alone, (B, hidden, h, w).

        A linear layer on unfolded features is a convolution of them; so it is computed once per latent pixel, not for
        each of the queries around it.
        """
        height, width = z.shape[-2:]
        features = self.to_features(self.body(reflected(z, self.config.window)))[..., :height, :width]
        weight = self.mlp[0].weight[:, :-PLACE].unflatten(1, (self.config.features, 3, 3))
        return F.conv2d(features, weight, self.mlp[0].bias, padding=1)

    def _answered(self, z: Tensor, projected: Tensor, coordinates: Tensor, cell: Tensor) -> Tensor:
        size = coordinates.new_tensor(z.shape[-2:])
        per_pixel, of_place = projected.flatten(2).transpose(1, 2), self.mlp[0].weight[:, -PLACE:]
        predictions, areas = [], []
        for index, offset in _around(coordinates, z.shape[-2:]):
            at_pixel = per_pixel.gather(1, index[..., None].expand(-1, -1, per_pixel.shape[-1]))
            place = F.linear(torch.cat([offset, cell * size], dim=-1), of_place)
            predictions.append(self.mlp[1:](at_pixel + place))
            areas.append(offset.prod(dim=-1).abs() + LEAST_AREA)
        total = torch.stack(areas).sum(dim=0)
        weights = [(area / total)[..., None] for area in reversed(areas)]  # each by the area opposite
        residual = sum(weight * prediction for weight, prediction in zip(weights, predictions, strict=True))
        return residual + _interpolated(z, coordinates)


def _around(coordinates: Tensor, size: tuple[int, int]) -> Iterator[tuple[Tensor, Tensor]]:
    """The four latent pixels around each place: index (B, N) of each, and the place relative to it (B, N, 2).

    Relative places are in half latent pixels. The first pixel lies opposite to the last, the second to the third.
    """
    sides = coordinates.new_tensor(size)
    for towards in product((-1, 1), repeat=2):
        shifted = coordinates + coordinates.new_tensor(towards) / sides + TIE
        pixel = ((shifted + 1) / 2 * sides).floor().clamp(min=torch.zeros_like(sides), max=sides - 1)
        centre = (2 * pixel + 1) / sides - 1
        yield (pixel[..., 0] * size[1] + pixel[..., 1]).long(), (coordinates - centre) * sides


def _interpolated(z: Tensor, coordinates: Tensor) -> Tensor:
    """z at `coordinates`, bicubic: (B, N, C)."""
    grid = coordinates.flip(-1)[:, None]
    sampled = F.grid_sample(z, grid.to(z.dtype), mode="bicubic", padding_mode="border", align_corners=False)
    return sampled[:, :, 0].transpose(1, 2)


def cell_centres(size: tuple[int, int], device: torch.device | str = "cpu") -> Tensor:
    """Centres (H W, 2) of a grid's cells, row by row: y and x in [-1, 1]."""
    axes = [(2 * torch.arange(side, device=device, dtype=torch.float32) + 1) / side - 1 for side in size]
    return torch.cartesian_prod(*axes)


def cell_like(coordinates: Tensor, size: tuple[int, int]) -> Tensor:
    """Height and width of a cell of an H x W grid, for every one of `coordinates` (B, N, 2)."""
    return (2 / coordinates.new_tensor(size)).expand_as(coordinates)


def build_lsrna(method: Lsrna, params: Params, autoencoder: FrozenAutoencoder) -> LsrnaNetwork:
    """The untrained network of `method`'s sizes, seeded."""
    size = method.model_dump(include={"embed", "depths", "heads", "window", "features", "hidden"})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(params.seed)
        return LsrnaNetwork(autoencoder.latent_channels, weights_sha256(autoencoder), **size)


def load_lsrna(path: Path | str, channels: int) -> LsrnaNetwork:
    """The network of a published checkpoint (LIIF's layout: model/sd; or the same tensors by themselves), in eval mode.

    Its sizes are read off the tensors: encoder.* of body and features, imnet.layers.N of the MLP.

    Args:
        channels: of the latents it is to read.

    Raises:
        FileNotFoundError: nothing at `path`.
        ValueError: not this network's tensors, or made for latents of another number of channels.
    """
    state = renamed(read_tensors(path, *PLACES), PUBLIC_NAMES)
    sizes = body_sizes(state, path)
    check_channels(sizes["channels"], channels, path)
    features = state.get("to_features.0.weight")
    layers = sorted(int(name.split(".")[1]) for name in state if name.startswith("mlp.") and name.endswith(".weight"))
    if features is None or len(layers) < 2:
        raise ValueError(f"{path} has no encoder.conv_before_upsample or imnet.layers; give the published file")
    hidden = [len(state[f"mlp.{layer}.weight"]) for layer in layers[:-1]]
    network = LsrnaNetwork(autoencoder="", features=len(features), hidden=hidden, **sizes)
    load_exactly(network, state, path)
    return network.eval()
