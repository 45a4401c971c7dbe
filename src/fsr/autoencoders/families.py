"""The families of autoencoders: how each encodes, and the stages its own decode runs.

For every family the cuts mean the same: f1 is where the decoder has left the latent, f2, f3 and f4 lie behind its first
three enlargements, f5 before the last convolution.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from diffusers import AutoencoderKL, AutoencoderKLFlux2, AutoencoderTiny, ModelMixin
from torch import Tensor, nn

from fsr.autoencoders.split import CUTS, Cut, SplitDecoder, Stage
from fsr.autoencoders.taef2 import Taef2


@dataclass(frozen=True)
class Family:
    """One class of autoencoder.

    Attributes:
        model: its class. encode: unscaled latents of images in [-1, 1], never sampled. split: its decoder's stages.
        encoder: the stages its encode runs; the first latent channels of what they make are the latents.
    """

    model: type[ModelMixin]
    encode: Callable[[ModelMixin, Tensor], Tensor]
    split: Callable[[ModelMixin], SplitDecoder]
    encoder: Callable[[ModelMixin], tuple[Stage, ...]]


def family_of(model: ModelMixin) -> Family:
    """The family a model belongs to.

    Raises:
        ValueError: none; the message lists those there are.
    """
    for family in FAMILIES.values():
        if isinstance(model, family.model):
            return family
    raise ValueError(f"{type(model).__name__} is not an autoencoder FSR can split; choose one of {', '.join(FAMILIES)}")


def split_kl_decoder(model: AutoencoderKL | AutoencoderKLFlux2) -> SplitDecoder:
    """The stages of an AutoencoderKL (FLUX.1, SD1, SDXL, SD3) or AutoencoderKLFlux2, in the order its decode runs them.

    Raises:
        ValueError: the decoder enlarges fewer than three times, so the named cuts do not exist.
    """
    decoder = model.decoder
    stages = [] if model.post_quant_conv is None else [Stage("post_quant_conv", model.post_quant_conv)]
    stages += [Stage("decoder.conv_in", decoder.conv_in), Stage("decoder.mid_block", decoder.mid_block)]
    stages += [Stage(f"decoder.up_blocks.{i}", block) for i, block in enumerate(decoder.up_blocks)]
    stages += [Stage(f"decoder.{name}", getattr(decoder, name)) for name in ("conv_norm_out", "conv_act", "conv_out")]
    enlarging = [(i, block) for i, block in enumerate(decoder.up_blocks) if block.upsamplers]
    stride = 2 ** len(enlarging)
    cuts = [Cut(CUTS[0], "decoder.conv_in", decoder.conv_in.out_channels, stride)]
    for name, (i, block) in zip(CUTS[1:4], enlarging, strict=False):
        stride //= 2
        cuts.append(Cut(name, f"decoder.up_blocks.{i}", block.resnets[-1].out_channels, stride))
    cuts.append(Cut(CUTS[4], "decoder.conv_act", decoder.conv_out.in_channels, 1))
    return _complete(SplitDecoder(tuple(stages), tuple(cuts)))


def kl_encoder(model: AutoencoderKL | AutoencoderKLFlux2) -> tuple[Stage, ...]:
    """The stages of an AutoencoderKL's encoder, from images to the moments of the latents: means first."""
    encoder = model.encoder
    stages = [Stage("encoder.conv_in", encoder.conv_in)]
    stages += [Stage(f"encoder.down_blocks.{i}", block) for i, block in enumerate(encoder.down_blocks)]
    names = ("mid_block", "conv_norm_out", "conv_act", "conv_out")
    stages += [Stage(f"encoder.{name}", getattr(encoder, name)) for name in names]
    return (*stages, *([] if model.quant_conv is None else [Stage("quant_conv", model.quant_conv)]))


def tiny_encoder(model: AutoencoderTiny) -> tuple[Stage, ...]:
    """The stages of an AutoencoderTiny's encoder."""
    return _encoder_layers("encoder.layers", model.encoder.layers)


def taef2_encoder(model: Taef2) -> tuple[Stage, ...]:
    """The stages of TAEF2's encoder."""
    return _encoder_layers("encoder", model.encoder)


def _encoder_layers(name: str, layers: nn.Sequential) -> tuple[Stage, ...]:
    to_unit = Stage("encoder.to_unit", lambda x: x.add(1).div(2))
    return (to_unit, *(Stage(f"{name}.{i}", layer) for i, layer in enumerate(layers)))


def split_tiny_decoder(model: AutoencoderTiny) -> SplitDecoder:
    """The stages of an AutoencoderTiny (TAESD, TAESDXL, TAESD3, TAEF1).

    Raises:
        ValueError: the decoder enlarges fewer than three times, so the named cuts do not exist.
    """
    layers = model.decoder.layers
    clamp = Stage("decoder.clamp", lambda z: (z / 3).tanh() * 3)
    return _split_layers("decoder.layers", layers, before=[clamp])


def split_taef2_decoder(model: Taef2) -> SplitDecoder:
    """The stages of TAEF2; its first layer is the clamp."""
    return _split_layers("decoder", model.decoder, before=[])


def _split_layers(name: str, layers: nn.Sequential, before: list[Stage]) -> SplitDecoder:
    """A TAESD-like decoder: convolution and activation, blocks and enlargements, each followed by a convolution."""
    stages = [*before, *(Stage(f"{name}.{i}", layer) for i, layer in enumerate(layers))]
    stages.append(Stage("decoder.to_range", lambda x: x.mul(2).sub(1)))
    enlargements = [i for i, layer in enumerate(layers) if isinstance(layer, nn.Upsample)]
    convolutions = [i for i, layer in enumerate(layers) if isinstance(layer, nn.Conv2d)]
    places = [convolutions[0] + 1, *(i + 1 for i in enlargements[:3]), len(layers) - 2]
    strides = [math.prod(int(layers[i].scale_factor) for i in enlargements if i > place) for place in places]
    cuts = [
        Cut(cut, f"{name}.{place}", _width(layers, place), stride)
        for cut, place, stride in zip(CUTS, places, strides, strict=False)
    ]
    return _complete(SplitDecoder(tuple(stages), tuple(cuts)))


def _width(layers: nn.Sequential, place: int) -> int:
    """Channels behind a layer: what the next convolution, at whatever depth, takes."""
    following = (module for layer in layers[place + 1 :] for module in layer.modules())
    return next(module.in_channels for module in following if isinstance(module, nn.Conv2d))


def _complete(decoder: SplitDecoder) -> SplitDecoder:
    if decoder.cuts != CUTS:
        raise ValueError(
            f"this decoder has only the cuts {', '.join(decoder.cuts)}: it enlarges fewer than three times; choose an "
            "autoencoder with a factor of 8"
        )
    return decoder


def _mean(model: AutoencoderKL | AutoencoderKLFlux2, images: Tensor) -> Tensor:
    return model.encode(images).latent_dist.mode()


def _latents(model: AutoencoderTiny | Taef2, images: Tensor) -> Tensor:
    return model.encode(images).latents


FAMILIES = {
    "AutoencoderKL": Family(AutoencoderKL, _mean, split_kl_decoder, kl_encoder),
    "AutoencoderKLFlux2": Family(AutoencoderKLFlux2, _mean, split_kl_decoder, kl_encoder),
    "AutoencoderTiny": Family(AutoencoderTiny, _latents, split_tiny_decoder, tiny_encoder),
    "TAEF2": Family(Taef2, _latents, split_taef2_decoder, taef2_encoder),
}
