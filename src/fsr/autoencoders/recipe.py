"""Typed parameters of how the embedded autoencoder is trained (experiments/embedded_autoencoder.yaml)."""

from typing import Annotated

from pydantic import Field

from fsr.config.kinds import Count, Positive, PositiveReal, Share, Weight
from fsr.sections import Section


class CropPhase(Section):
    """A stretch of training on crops of one size."""

    steps: Positive
    batch: Positive
    crop: Annotated[int, Field(ge=32, multiple_of=16)]
    weight_decay: Weight = Field(description="on convolutions and attention; keeps features from growing")


class AutoencoderTraining(Section):
    """How the embedded autoencoder is trained (experiments/embedded_autoencoder.yaml)."""

    seed: Count
    data: Annotated[list[str], Field(min_length=1)]
    validation_every: Annotated[int, Field(ge=2)] = Field(description="every n-th file is held out")
    block_out_channels: Annotated[list[Positive], Field(min_length=4, max_length=4)]
    layers_per_block: Positive
    latent_channels: Positive
    norm_num_groups: Positive
    phases: Annotated[list[CropPhase], Field(min_length=1)]
    lr: PositiveReal
    fallback_lr_scale: PositiveReal = Field(
        description="factor on lr for biases, norms and the two end convolutions (AdamW)"
    )
    warmup_steps: Positive
    decay_from: Share
    latent_penalty: Weight = Field(description="weight of mean(z^2), which keeps the latents bounded")
    clip_grad_norm: PositiveReal
    ema_decay: Share
    checkpoint_every: Positive
