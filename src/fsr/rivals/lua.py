"""LUA: a SwinIR body on raw latents, with a head for each scale.

Source: Razin and Kazantsev, One Small Step in Latent, One Giant Leap for Pixels: Fast Latent Upscale Adapter for Your
Diffusion Models, arXiv 2511.10629.
"""

from pathlib import Path

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from fsr.autoencoders import FrozenAutoencoder, weights_sha256
from fsr.config import Lua, Params
from fsr.rivals.published import check_channels, load_exactly, read_tensors, renamed
from fsr.rivals.swinir import SwinBody, body_sizes, reflected

PLACES = (("params_ema",), ("params",))  # of the state dict in a published file


class Head(nn.Module):
    """Latents (B, channels, scale h, scale w) of deep features (B, embed, h, w), doubled log2(scale) times."""

    def __init__(self, embed: int, width: int, channels: int, scale: int) -> None:
        super().__init__()
        self.conv_before = nn.Sequential(nn.Conv2d(embed, width, 3, padding=1), nn.LeakyReLU())
        doubling = ((nn.Conv2d(width, 4 * width, 3, padding=1), nn.PixelShuffle(2)) for _ in range(_doublings(scale)))
        self.upsample = nn.Sequential(*(layer for layers in doubling for layer in layers))
        self.conv_last = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        return self.conv_last(self.upsample(self.conv_before(features)))


class LuaNetwork(ModelMixin, ConfigMixin):
    """Enlarged raw latents (B, channels, scale h, scale w) of raw latents (B, channels, h, w).

    Raw latents are the autoencoder's own (FrozenAutoencoder.raw). The input has no skip to the output.

    Args:
        scales: powers of two; there is a head for each.
        autoencoder: SHA-256 of the frozen weights it was trained for; "" for published weights.
        embed, depths, heads, window: of the body (SwinBody).
        head_width: channels of the heads.

    Raises:
        ValueError: a scale is no power of two, or sizes that do not fit.
    """

    @register_to_config
    def __init__(
        self,
        channels: int,
        scales: list[int],
        autoencoder: str,
        embed: int,
        depths: list[int],
        heads: int,
        window: int,
        head_width: int,
    ) -> None:
        super().__init__()
        self.body = SwinBody(channels, embed, depths, heads, window)
        self.scale_heads = nn.ModuleDict({f"x{scale}": Head(embed, head_width, channels, scale) for scale in scales})

    def forward(self, z_raw: Tensor, scale: int) -> Tensor:
        """`z_raw` enlarged by `scale`.

        Raises:
            ValueError: there is no head for this scale.
        """
        self.check_scale(scale)
        height, width = z_raw.shape[-2:]
        features = self.body(reflected(z_raw, self.config.window))
        return self.scale_heads[f"x{scale}"](features)[..., : scale * height, : scale * width]

    def check_scale(self, scale: int) -> None:
        """Pass if there is a head for `scale`.

        Raises:
            ValueError: there is none.
        """
        if scale not in self.config.scales:
            raise ValueError(f"scale {scale} has no head in this LUA; choose one of {list(self.config.scales)}")


def build_lua(method: Lua, params: Params, autoencoder: FrozenAutoencoder) -> LuaNetwork:
    """The untrained network of `method`'s sizes, with a head for each of `params.scales`, seeded.

    Raises:
        ValueError: a scale is no power of two.
    """
    size = method.model_dump(include={"embed", "depths", "heads", "window", "head_width"})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(params.seed)
        return LuaNetwork(autoencoder.latent_channels, params.scales, weights_sha256(autoencoder), **size)


def load_lua(path: Path | str, channels: int) -> LuaNetwork:
    """The network of a published checkpoint (lua_flux.pth, or the same tensors as safetensors), in eval mode.

    Its sizes are read off the tensors: conv_first, layers.N, norm, conv_after_body of the body, heads.xS of the heads.

    Args:
        channels: of the latents it is to read.

    Raises:
        FileNotFoundError: nothing at `path`.
        ValueError: not this network's tensors, or made for latents of another number of channels.
    """
    state = renamed(read_tensors(path, *PLACES), {"heads.": "scale_heads.", "": "body."})
    sizes = body_sizes(state, path)
    check_channels(sizes["channels"], channels, path)
    scales = sorted({int(name.split(".")[1].removeprefix("x")) for name in state if _is_head(name)})
    if not scales:
        raise ValueError(f"{path} has no heads (heads.x2, heads.x4, ...); give the published file")
    width = len(state.get(f"scale_heads.x{scales[0]}.conv_before.0.weight", ()))
    network = LuaNetwork(scales=scales, autoencoder="", head_width=width, **sizes)
    load_exactly(network, state, path)
    return network.eval()


def _is_head(name: str) -> bool:
    part = name.split(".")
    return part[0] == "scale_heads" and part[1].removeprefix("x").isdecimal()


def _doublings(scale: int) -> int:
    if scale < 2 or scale & (scale - 1):
        raise ValueError(f"LUA cannot enlarge by {scale}; its scales are powers of two (2, 4, ...)")
    return scale.bit_length() - 1
