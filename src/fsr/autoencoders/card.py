"""The model card of a trained autoencoder: how it was made, and what it was measured to reconstruct."""

from dataclasses import dataclass
from pathlib import Path

import torch

from fsr.autoencoders.frozen import FrozenAutoencoder
from fsr.autoencoders.recipe import AutoencoderTraining
from fsr.files import write_csv, write_text
from fsr.images import read_image
from fsr.metrics.protocol import PROTOCOLS

CARD = """---
license: apache-2.0
library_name: diffusers
---

# The embedded autoencoder

A small `diffusers.AutoencoderKL` with the stage structure of FLUX's (conv_in, mid_block with attention, four up_blocks,
conv_norm_out, conv_act, conv_out; a factor of 8), so that the study runs where no larger one can be had. The study
freezes it like any other. It is not meant for generating images, and its latents fit no other model.

## How it was made

`fsr train-autoencoder experiments/embedded_autoencoder.yaml`: trained from scratch on {sets}, every {every}th image
held out, {steps} steps ({phases}), seed {seed}.

- Loss: mean squared error in [-1, 1], plus {penalty:g} times the mean squared latent, which keeps latents bounded; they
  are used as means, never sampled.
- Optimiser: Muon (timm), AdamW for norms, biases and the end convolutions; learning rate {lr:g}, linear warm-up, linear
  decay from {decay:.0%} of the steps; moving average of weights {ema:g}; bf16 autocast. Stored in half precision.
- It ran on two CPU cores, interrupted and resumed with other numbers of threads, and the phases and the weight decay
  were adapted to the held-out images on the way: a repetition is the same recipe, not the same bits. No benchmark image
  was looked at.
- The images of BSDS500 are for research; none of them is in this repository.

| | |
|---|---|
| parameters | {parameters:,} |
| widths | {widths} |
| latent channels | {channels} |

## What it reconstructs

Protocol `strict` (8-bit output, border of 2 pixels left out), float32, against the raw image.

{table}
"""


@dataclass(frozen=True)
class Reconstruction:
    """Means over a set's images of PSNR (dB) and SSIM, in RGB and luma."""

    set: str
    images: int
    psnr: float
    psnr_y: float
    ssim: float
    ssim_y: float


@torch.inference_mode()
def measure_reconstruction(autoencoder: FrozenAutoencoder, name: str, files: list[Path]) -> Reconstruction:
    """What is left of a set's images after encoding and decoding, under `strict` at scale 2."""
    protocol, scale = PROTOCOLS["strict"], 2
    scores = []
    for file in files:
        sample = protocol.sample(read_image(file).to(autoencoder.device), autoencoder, scale)
        scores.append(protocol.fidelity(protocol.output(sample.x_H_rec), protocol.output(sample.x_H), scale))
    means = {key: sum(score[key] for score in scores) / len(scores) for key in ("psnr", "psnr_y", "ssim", "ssim_y")}
    return Reconstruction(name, len(files), **means)


def write_card(
    folder: Path, params: AutoencoderTraining, autoencoder: FrozenAutoencoder, measured: list[Reconstruction]
) -> None:
    """Write reconstruction.csv and README.md beside the weights."""
    rows = [
        {key: f"{value:.4f}" if isinstance(value, float) else value for key, value in vars(item).items()}
        for item in measured
    ]
    write_csv(folder / "reconstruction.csv", rows)
    lines = ["| set | images | PSNR (dB) | PSNR-Y (dB) | SSIM | SSIM-Y |", "|---|---:|---:|---:|---:|---:|"]
    lines += [
        f"| {m.set} | {m.images} | {m.psnr:.2f} | {m.psnr_y:.2f} | {m.ssim:.4f} | {m.ssim_y:.4f} |" for m in measured
    ]
    phases = ", ".join(f"{p.steps} of {p.batch} x {p.crop} px with decay {p.weight_decay:g}" for p in params.phases)
    card = CARD.format(
        sets=", ".join(params.data),
        every=params.validation_every,
        steps=sum(phase.steps for phase in params.phases),
        phases=phases,
        seed=params.seed,
        penalty=params.latent_penalty,
        lr=params.lr,
        decay=params.decay_from,
        ema=params.ema_decay,
        parameters=sum(parameter.numel() for parameter in autoencoder.parameters()),
        widths=", ".join(map(str, params.block_out_channels)),
        channels=params.latent_channels,
        table="\n".join(lines),
    )
    write_text(folder / "README.md", card)
