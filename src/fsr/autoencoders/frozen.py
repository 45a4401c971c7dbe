"""A frozen autoencoder whose decoder is split at named cuts.

The only place that knows the pixel range [-1, 1], `scaling_factor` and `shift_factor`: outside, images are in [0, 1]
and latents are `scaling_factor * (mean - shift_factor)`.
"""

import hashlib
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from huggingface_hub.errors import HfHubHTTPError
from torch import Tensor, nn

from fsr.autoencoders.split import split_kl_decoder
from fsr.config import Vae

EMBEDDED = Path(__file__).parent / "embedded"
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class FrozenAutoencoder(nn.Module):
    """Encoder, head and tail of an AutoencoderKL; its parameters take no gradient and stay in eval mode.

    For images (B, 3, H, W), H and W multiples of `factor`, latents are (B, `latent_channels`, H/factor, W/factor); the
    features of a cut are as `feature_shape` says.
    """

    def __init__(self, model: AutoencoderKL) -> None:
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        self.decoder = split_kl_decoder(model)
        self.factor = 2 ** (len(model.config.block_out_channels) - 1)
        self.latent_channels: int = model.config.latent_channels
        self._scale = float(model.config.scaling_factor)
        self._shift = float(model.config.shift_factor or 0.0)

    def train(self, mode: bool = True) -> "FrozenAutoencoder":
        """Stays in eval mode whatever `mode` is: it is frozen."""
        return super().train(False)

    @property
    def cuts(self) -> tuple[str, ...]:
        return self.decoder.cuts

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @staticmethod
    def normalise(images: Tensor) -> Tensor:
        """[0, 1] to the autoencoder's own [-1, 1], the range the objective's and the probe's pixel terms are in."""
        return images * 2 - 1

    def encode(self, images: Tensor) -> Tensor:
        """Scaled latents of images in [0, 1]: the mean of the posterior, never a sample.

        Raises:
            ValueError: sides are not multiples of `factor`.
        """
        height, width = images.shape[-2:]
        if height % self.factor or width % self.factor:
            raise ValueError(
                f"an image of {width}x{height} must be cropped to multiples of {self.factor} to be encoded"
            )
        posterior = self.model.encode(self.normalise(images).to(self.model.dtype)).latent_dist
        return (posterior.mode() - self._shift) * self._scale

    def decode(self, latents: Tensor) -> Tensor:
        """Images in [0, 1] (not clamped) of scaled latents: head and tail at once."""
        return self._images(self.decoder.run(self._unscaled(latents)))

    def head(self, latents: Tensor, cut: str) -> Tensor:
        """Features at `cut` of scaled latents.

        Raises:
            ValueError: no such cut.
        """
        return self.decoder.run(self._unscaled(latents), stop=self.decoder.position(cut))

    def tail(self, features: Tensor, cut: str) -> Tensor:
        """Images in [0, 1] (not clamped) of features at `cut`.

        Raises:
            ValueError: no such cut.
        """
        return self._images(self.decoder.run(features, start=self.decoder.position(cut)))

    def feature_shape(self, cut: str, height: int, width: int) -> tuple[int, int, int]:
        """(channels, H, W) of the features at `cut` for an image of `height` x `width` pixels.

        Raises:
            ValueError: no such cut.
        """
        blocks = self.model.config.block_out_channels[::-1]
        number = self.cuts.index(cut) if cut in self.cuts else self.decoder.position(cut)
        ups = min(number, len(blocks) - 1)
        channels = (blocks[0], *blocks[: len(blocks) - 1], blocks[-1])[number]
        stride = self.factor // 2**ups
        return channels, height // stride, width // stride

    def _unscaled(self, latents: Tensor) -> Tensor:
        return latents.to(self.model.dtype) / self._scale + self._shift

    @staticmethod
    def _images(decoded: Tensor) -> Tensor:
        return decoded.float() * 0.5 + 0.5


def load_autoencoder(vae: Vae, device: str) -> FrozenAutoencoder:
    """The frozen autoencoder the `vae` section names: "embedded", a local folder, or a hub id.

    Raises:
        FileNotFoundError: nothing there, or the hub is out of reach; says what to do.
    """
    try:
        model = AutoencoderKL.from_pretrained(
            EMBEDDED if vae.path == "embedded" else vae.path,
            subfolder=vae.subfolder,
            revision=vae.revision,
            torch_dtype=DTYPES[vae.dtype],
        )
    except (OSError, HfHubHTTPError) as error:
        raise FileNotFoundError(
            f"no autoencoder at vae.path {vae.path!r} (subfolder {vae.subfolder}): give 'embedded', a local folder "
            "with config.json and safetensors, or a hub id that you can reach and are allowed to read (HF_TOKEN)"
        ) from error
    return FrozenAutoencoder(model.to(device, memory_format=torch.channels_last))


def weights_sha256(autoencoder: FrozenAutoencoder) -> str:
    """SHA-256 of the model's configuration and weights, whatever file they came from."""
    digest = hashlib.sha256()
    for name, value in sorted(autoencoder.model.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    digest.update(f"{autoencoder._scale} {autoencoder._shift}".encode())
    return digest.hexdigest()
