"""TAEF2, the tiny autoencoder of FLUX.2's latents, for which diffusers has no class.

Its blocks on the latent's grid have a branch that pools by group normalisation over the whole image, so one pixel there
depends on all others. Weights and architecture: madebyollin/taesd on GitHub (MIT).
"""

from pathlib import Path
from pickle import UnpicklingError
from zipfile import is_zipfile

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTinyOutput
from diffusers.models.autoencoders.vae import DecoderOutput
from torch import Tensor, nn

ENCODER_FILE, DECODER_FILE = "taef2_encoder.pth", "taef2_decoder.pth"
POOL_GROUPS = 4
POOL_EXPANSION = 4
LATENT_LIMIT = 3.0


class LatentClamp(nn.Module):
    """Latents drawn smoothly into (-3, 3)."""

    def forward(self, z: Tensor) -> Tensor:
        return torch.tanh(z / LATENT_LIMIT) * LATENT_LIMIT


class TinyBlock(nn.Module):
    """Residual block of three 3x3 convolutions; with `pooled`, after a branch that is normalised over the image."""

    def __init__(self, width: int, pooled: bool = False) -> None:
        super().__init__()
        steps: list[nn.Module] = []
        for _ in range(3):
            steps += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU()]
        self.conv = nn.Sequential(*steps[:-1])
        self.pool = None
        if pooled:
            wide = POOL_EXPANSION * width
            self.pool = nn.Sequential(
                nn.Conv2d(width, wide, 1, bias=False),
                nn.GroupNorm(POOL_GROUPS, wide),
                nn.ReLU(),
                nn.Conv2d(wide, width, 1, bias=False),
            )

    def forward(self, x: Tensor) -> Tensor:
        if self.pool is not None:
            x = x + self.pool(x)
        return torch.relu(self.conv(x) + x)


class Taef2(ModelMixin, ConfigMixin):
    """Encoder and decoder between images (B, 3, H, W) in [-1, 1] and latents (B, latent_channels, H/8, W/8).

    `encode` and `decode` have the signatures of diffusers' AutoencoderTiny, so that it may stand in a pipeline.

    Args:
        width: channels of every feature.
        scaling_factor, shift_factor: its latents are FLUX.2's as they are.
    """

    @register_to_config
    def __init__(
        self, latent_channels: int = 32, width: int = 64, scaling_factor: float = 1.0, shift_factor: float = 0.0
    ) -> None:
        super().__init__()
        self.register_to_config(block_out_channels=(width,) * 4)
        down = [
            [nn.Conv2d(width, width, 3, stride=2, padding=1, bias=False), *(TinyBlock(width, pooled) for _ in range(3))]
            for pooled in (False, False, True)
        ]
        up = [
            [*(TinyBlock(width, pooled) for _ in range(3)), nn.Upsample(scale_factor=2), _plain(width, width)]
            for pooled in (True, False, False)
        ]
        self.encoder = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1),
            TinyBlock(width),
            *down[0],
            *down[1],
            *down[2],
            nn.Conv2d(width, latent_channels, 3, padding=1),
        )
        self.decoder = nn.Sequential(
            LatentClamp(),
            nn.Conv2d(latent_channels, width, 3, padding=1),
            nn.ReLU(),
            *up[0],
            *up[1],
            *up[2],
            TinyBlock(width),
            nn.Conv2d(width, 3, 3, padding=1),
        )

    @classmethod
    def from_public_files(cls, folder: Path | str, dtype: torch.dtype = torch.float32) -> "Taef2":
        """The model with the two published weight files, which are read as tensors only (no code in them is run).

        Raises:
            FileNotFoundError: a file is not in `folder`.
            ValueError: a file holds something else.
        """
        model = cls()
        for part, name in ((model.encoder, ENCODER_FILE), (model.decoder, DECODER_FILE)):
            _load_tensors(part, Path(folder, name))
        return nn.Module.to(model, dtype)  # diffusers' own warns of modules to keep in float32, of which there are none

    def encode(self, x: Tensor, return_dict: bool = True) -> AutoencoderTinyOutput | tuple[Tensor]:
        """Latents of images in [-1, 1]."""
        latents = self.encoder(x.add(1).div(2))
        return AutoencoderTinyOutput(latents=latents) if return_dict else (latents,)

    def decode(
        self, z: Tensor, generator: torch.Generator | None = None, return_dict: bool = True
    ) -> DecoderOutput | tuple[Tensor]:
        """Images in [-1, 1] (not clamped) of latents; nothing is drawn from `generator`."""
        images = self.decoder(z).mul(2).sub(1)
        return DecoderOutput(sample=images) if return_dict else (images,)


def _load_tensors(part: nn.Module, path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; set vae.path to a folder with both files, or to public")
    wrong = f"{path} does not hold TAEF2's weights; fetch it again"
    if not is_zipfile(path):  # what torch.save writes
        raise ValueError(wrong)
    try:
        part.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except (UnpicklingError, RuntimeError, ValueError, TypeError) as error:
        raise ValueError(wrong) from error


def _plain(channels: int, out: int) -> nn.Conv2d:
    return nn.Conv2d(channels, out, 3, padding=1, bias=False)
