"""Small random models of each family of autoencoders."""

import torch
from diffusers import AutoencoderKL, AutoencoderKLFlux2, AutoencoderTiny, ModelMixin

from fsr.autoencoders.taef2 import Taef2


def tiny_model(
    *, quant: bool = False, widths: tuple[int, ...] = (8, 8, 16, 16), shift: float | None = 0.1
) -> AutoencoderKL:
    """A random AutoencoderKL with FLUX's stage structure at a fraction of its width."""
    torch.manual_seed(0)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        block_out_channels=widths,
        latent_channels=4,
        norm_num_groups=4,
        scaling_factor=0.4,
        shift_factor=shift,
        use_quant_conv=quant,
        use_post_quant_conv=quant,
    )


def tiny_of(family: str) -> ModelMixin:
    """A random model of a family (vae.class), with 4 latent channels."""
    torch.manual_seed(0)
    match family:
        case "AutoencoderKL":
            return tiny_model()
        case "AutoencoderKLFlux2":
            return AutoencoderKLFlux2(block_out_channels=(8, 8, 16, 16), latent_channels=4, norm_num_groups=4)
        case "AutoencoderTiny":
            widths = {"encoder_block_out_channels": (8,) * 4, "decoder_block_out_channels": (8,) * 4}
            return AutoencoderTiny(latent_channels=4, **widths)
        case "TAEF2":
            return Taef2(latent_channels=4, width=8)
    raise ValueError(f"no tiny model of {family!r}; add one here")
