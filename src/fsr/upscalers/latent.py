"""The rows of methods of others that enlarge the latent, and render it through the decoder."""

from dataclasses import dataclass

import cv2
import torch
import torch.nn.functional as F
from torch import Tensor

from fsr.config.rows import After
from fsr.images import to_bytes
from fsr.randomness import generator
from fsr.rivals.lsrna import LsrnaNetwork
from fsr.rivals.lua import LuaNetwork
from fsr.upscalers.base import Capabilities, Clock, Rendering, Sample, untimed

CANNY_THRESHOLDS = (0, 255)
STRONGEST_NOISE = 1.2  # deviation where edges are densest; none where there are none


@dataclass(frozen=True)
class Lua:
    """D(LUA(E(x_L))): a forward pass on the raw latent.

    Raises:
        ValueError: the network has no head for the scale.
    """

    network: LuaNetwork
    name: str = "lua"

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(scales=tuple(self.network.config.scales), networks=(self.network,))

    def __call__(self, sample: Sample, clock: Clock = untimed) -> Rendering:
        self.network.check_scale(sample.scale)
        autoencoder = sample.autoencoder
        with clock("encode"):
            z_L = sample.z_L
        with clock("model"):
            z = autoencoder.scaled(self.network(autoencoder.raw(z_L).float(), sample.scale))
        with clock("decode"):
            return Rendering(autoencoder.decode(z))


@dataclass(frozen=True)
class Lsrna:
    """D(LSR(E(x_L))): LSRNA's super-resolution of the scaled latent, without the denoising that follows it there.

    Args:
        after: "" for the latent as it comes;
            "matched" for one whose every channel has the mean it has in the base latent E(x_L): the method is known to
            shift colours, which the means of latent channels carry;
            "noised" for the latent with region-wise noise (RNA) added, which is what the published method denoises
            again in 30 steps: before re-denoising, not an output.
        seed: of the noise.
    """

    network: LsrnaNetwork
    name: str = "lsrna"
    after: After = ""
    seed: int = 0

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(networks=(self.network,))

    def __call__(self, sample: Sample, clock: Clock = untimed) -> Rendering:
        with clock("encode"):
            z_L = sample.z_L
        with clock("model"):
            z = self.network(z_L.float(), sample.latent_size)
        match self.after:
            case "matched":
                with clock("model"):
                    z = with_means_of(z, z_L)
            case "noised":
                with clock("decode"):
                    x_L_rec = sample.x_L_rec
                with clock("model"):
                    z = noised(z, x_L_rec, generator(self.seed, self.name))
        with clock("decode"):
            return Rendering(sample.autoencoder.decode(z))


def with_means_of(z: Tensor, z_L: Tensor) -> Tensor:
    """z, every channel of which is shifted so that its mean is that of z_L's."""
    return z + (z_L.float().mean(dim=(2, 3), keepdim=True) - z.mean(dim=(2, 3), keepdim=True))


def noised(z: Tensor, x_L_rec: Tensor, source: torch.Generator) -> Tensor:
    """z (1, C, H, W) plus noise that is stronger where x_L_rec (1, 3, h, w) has more edges (LSRNA's RNA)."""
    noise = torch.randn(z.shape, generator=source).to(z)
    return z + STRONGEST_NOISE * edge_density(x_L_rec, z.shape[-2:]).to(z) * noise


def edge_density(image: Tensor, size: tuple[int, int]) -> Tensor:
    """How much of each cell of an H x W grid are Canny's edges, from 0 where least to 1 where most: (1, 1, H, W).

    Zero everywhere where all cells are alike.
    """
    grey = cv2.cvtColor(to_bytes(image)[0].permute(1, 2, 0).cpu().numpy(), cv2.COLOR_RGB2GRAY)
    edges = torch.from_numpy(cv2.Canny(grey, *CANNY_THRESHOLDS)).float()
    density = F.adaptive_avg_pool2d(edges[None, None], size)
    spread = density.max() - density.min()
    return (density - density.min()) / spread if spread > 0 else torch.zeros_like(density)
