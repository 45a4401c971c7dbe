"""What the nodes do, on tensors: no ComfyUI here.

ComfyUI's images are (B, H, W, 3) in [0, 1]. Its latents are the VAE's own, as its decoder takes them: ComfyUI undoes a
model's scaling and shift before a LATENT leaves the sampler.
"""

import logging
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint
from torch import Tensor

from fsr.autoencoders import FrozenAutoencoder
from fsr.decoder import FSRDecoder
from fsr.files import read_json
from fsr.pipeline import ImagePipeline
from fsr.tiling import Tiling

Tick = Callable[[], None]
log = logging.getLogger(__name__)


def models_in(roots: Sequence[str | Path]) -> dict[str, Path]:
    """{name: folder} of the models directly in some folders, by name; the first folder wins where two have one name."""
    found: dict[str, Path] = {}
    for config in (path for root in roots for path in sorted(Path(root).glob("*/config.json"))):
        try:
            if read_json(config).get("_class_name") == FSRDecoder.__name__:
                found.setdefault(config.parent.name, config.parent)
        except (OSError, ValueError, AttributeError) as error:
            log.warning("%s is left out: %s", config.parent, error)
    return dict(sorted(found.items()))


def converted(weights: Mapping[str, Tensor], decoder: FSRDecoder) -> AutoencoderKL:
    """diffusers' model of a ComfyUI VAE's weights, built as the VAE the decoder was trained for; weights are copied.

    Raises:
        ValueError: the decoder's VAE is not an AutoencoderKL, or these are no weights of one built like it.
    """
    base, remedy = decoder.config["base_vae"], "load the VAE this model was trained for"
    if base["class"] != AutoencoderKL.__name__:
        raise ValueError(f"this model is for a {base['class']}, which FSR Decode cannot take from ComfyUI; use another")
    if "decoder.conv_in.weight" not in weights or weights["decoder.conv_in.weight"].ndim != 4:
        raise ValueError(f"this VAE is not built like {base['path']}; {remedy}")
    model = AutoencoderKL.from_config(decoder.config["architecture"])
    try:
        model.load_state_dict(convert_ldm_vae_checkpoint(dict(weights), model.config))
    except (RuntimeError, AttributeError, KeyError) as error:
        raise ValueError(f"this VAE is not built like {base['path']}; {remedy}") from error
    return model.to(weights["decoder.conv_in.weight"].dtype).eval()


class Loaded:
    """The decoder last used, on top of the VAE last used: both are loaded once for as long as neither changes."""

    def __init__(self) -> None:
        self._key: tuple[Path, int, Any] | None = None
        self._decoder: FSRDecoder | None = None

    def get(self, folder: Path, vae: Any | None) -> FSRDecoder:
        """The model in a folder, on a ComfyUI VAE, or where that is None on the VAE its config.json names.

        Raises:
            OSError: no model there, or its VAE is out of reach.
            ValueError: it was trained for another VAE than this.
        """
        source = None if vae is None else weakref.ref(vae.first_stage_model)
        key = folder, (folder / "config.json").stat().st_mtime_ns, source
        if self._decoder is None or key != self._key:
            self._decoder, self._key = None, None
            decoder = FSRDecoder.from_pretrained(folder)
            base = decoder.load_base().model if vae is None else converted(vae.get_sd(), decoder)
            self._decoder, self._key = decoder.attach(base), key
        return self._decoder


def factor(decoder: FSRDecoder) -> int:
    """Pixels of an image along a side of its latent, at the VAE's own size."""
    return FrozenAutoencoder(decoder.vae).factor


def memory_needed(decoder: FSRDecoder, pixels: int) -> int:
    """Bytes, about: both networks, and four features of the cut for each pixel of an image that comes out."""
    vae = decoder.vae
    weights = sum(tensor.nbytes for module in (decoder, vae) for tensor in module.state_dict().values())
    return weights + 4 * decoder.field.config.channels * vae.dtype.itemsize * pixels


@contextmanager
def on_device(decoder: FSRDecoder, device: str | torch.device, rest: str | torch.device) -> Iterator[None]:
    """Field and VAE on `device` inside the block, and on `rest` after it, whatever happens."""
    try:
        decoder.to(device)
        yield
    finally:
        decoder.to(rest)


@torch.inference_mode()
def decode(decoder: FSRDecoder, samples: Tensor, scale: int, tick: Tick = lambda: None) -> Tensor:
    """Images (B, scale H, scale W, 3) in [0, 1] on the CPU, of latents (B, C, h, w) of images of H x W pixels.

    `tick` is called before each image, and may raise to end the work.

    Raises:
        ValueError: latents of a video or of another VAE, the model has no such scale, or the result is not finite.
    """
    pipeline = _pipeline(decoder, scale)
    return _each(samples, tick, lambda z: pipeline.decode(pipeline.autoencoder.scaled(z.float())))


@torch.inference_mode()
def upscale(decoder: FSRDecoder, images: Tensor, scale: int, tick: Tick = lambda: None) -> Tensor:
    """Images (B, scale H, scale W, 3) in [0, 1] on the CPU, of images (B, H, W, 3 or 4); alpha is left out.

    `tick` is called before each image, and may raise to end the work.

    Raises:
        ValueError: the model has no such scale, or the result is not finite.
    """
    return _each(images[..., :3].movedim(-1, 1).float(), tick, _pipeline(decoder, scale))


def _pipeline(decoder: FSRDecoder, scale: int) -> ImagePipeline:
    return ImagePipeline(FrozenAutoencoder(decoder.vae), decoder.field, scale, Tiling())


def _each(items: Tensor, tick: Tick, make: Callable[[Tensor], Tensor]) -> Tensor:
    shown = []
    for item in items.split(1):
        tick()
        shown.append(make(item).float().clamp(0, 1).movedim(1, -1).cpu())
    return torch.cat(shown)
