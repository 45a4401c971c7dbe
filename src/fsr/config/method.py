"""Sections about the method: the probe of the cuts, the field, its training, and the ablation of its choices."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from fsr.config.kinds import Count, Cut, Positive, PositiveReal, Share, Weight, unique
from fsr.sections import Section


class ScoreWeights(Section):
    high_frequency: Weight = Field(description="reward: missing high-frequency fraction, what is left to gain")
    fft: Weight = Field(description="reward: relative gap of feature amplitude spectra")
    low_frequency: Weight = Field(description="penalty: relative low-frequency drift from the decoded base")
    sensitivity: Weight = Field(description="penalty: relative pixel change per relative feature change")
    cost: Weight = Field(description="penalty: FLOPs of field and tail relative to a whole decode")


class Probe(Section):
    cuts: Annotated[list[Cut], Field(min_length=1)]
    crops: Positive = Field(description="training crops per cut")
    score: Literal["absolute", "prototype"]
    weights: ScoreWeights
    margin: Weight = Field(
        description="best two cuts closer than this are ambiguous: both are tried (train.trial_steps)"
    )
    bootstrap: Positive = Field(description="resamples of the interval")

    @field_validator("cuts")
    @classmethod
    def _each_once(cls, names: list[str]) -> list[str]:
        return unique(names)


class FieldSize(Section):
    hidden: Annotated[int, Field(ge=8, multiple_of=8)] = Field(description="channels inside the field")
    blocks: Positive
    block: Literal["depthwise", "residual"] = Field(
        description="the prototype's depthwise block, or two plain 3x3 convolutions"
    )
    patch: Literal[1, 2, 4] = Field(description="space-to-depth factor: the field works on a grid this much coarser")
    gate: Literal["none", "scalar", "channel"]


class Losses(Section):
    """Weights of the objective's terms (docs/formulation.md); 0 leaves a term out."""

    flow: Weight
    endpoint: Weight
    fft: Weight
    one_step: Weight
    rgb: Weight
    low_frequency: Weight
    high_frequency: Weight
    drift: Weight
    gate_sparsity: Weight
    gate_variation: Weight


def known_terms(weights: dict[str, float]) -> dict[str, float]:
    """The weights, if all are of terms of the objective.

    Raises:
        ValueError: one is not.
    """
    unknown = sorted(set(weights) - set(Losses.model_fields))
    if unknown:
        raise ValueError(f"{', '.join(unknown)} is no term of the objective; use {', '.join(Losses.model_fields)}")
    return weights


class Consistency(Section):
    """One-step distillation: the one-step feature is drawn to where four steps of the averaged field end."""

    weight: Weight = Field(description="0 leaves the term out, whatever the margin")
    margin: Weight = Field(
        description="dB by which four steps must beat one in validation for the term to be on until the next validation"
    )


class Train(Section):
    cut: Literal["best", "f1", "f2", "f3", "f4", "f5"] = Field(
        description="'best' takes the probe's; a name overrides it"
    )
    trial_steps: Count = Field(
        description="steps each of two ambiguous cuts is trained before the better goes on; 0 takes the probe's first"
    )
    field: FieldSize
    losses: Losses
    consistency: Consistency
    pixel_loss_every: Positive = Field(description="pixel terms on every n-th step")
    sigma_max: Weight = Field(description="of the bridge's noise, sigma_max t (1 - t)")
    statistics: Literal["cache", "running"] = Field(
        description="feature statistics from the cache once, or running (momentum 0.01)"
    )
    statistics_crops: Positive
    steps: Positive = Field(description="optimiser steps")
    hours: PositiveReal | None = Field(
        description="wall-clock budget; null for none (a budget makes a run irreproducible)"
    )
    batch: Positive = Field(description="crops of one pass, over all processes")
    accumulation: Positive = Field(description="passes per optimiser step")
    processes: Positive = Field(description="through accelerate launch, one per GPU; each takes its part of a batch")
    workers: Count = Field(description="processes that read crops ahead; 0 reads them in between")
    lr: PositiveReal
    warmup_steps: Count
    decay_from: Share = Field(description="share of the steps after which the learning rate falls linearly to zero")
    weight_decay: Weight
    clip_grad_norm: PositiveReal
    ema_decay: Share
    checkpoint_tail: bool = Field(
        description="recompute the tail's activations in the backward pass: less memory, more time"
    )
    checkpoint_field: bool = Field(description="likewise for the field's blocks")
    feature_tile: Annotated[int, Field(ge=64, multiple_of=64)] | None = Field(
        description="side in pixels of the window of a crop's features that a pass trains on; null for all of it"
    )
    max_skipped: Positive = Field(description="steps in a row without a finite loss and gradient that end training")
    validate_every: Positive
    checkpoint_every: Positive


class Ablation(Section):
    """What `snakemake ablation` compares: every combination, trained for the same time on the same crops."""

    cuts: Annotated[list[Cut], Field(min_length=1)]
    blocks: Annotated[list[Literal["depthwise", "residual"]], Field(min_length=1)]
    patches: Annotated[list[Literal[1, 2, 4]], Field(min_length=1)] = Field(
        description="grids of the field; the scale itself is the low-resolution grid"
    )
    losses: Annotated[dict[str, dict[str, Weight]], Field(min_length=1)] = Field(
        description="name -> weights that differ from train.losses"
    )
    seeds: Annotated[list[Count], Field(min_length=2)]
    minutes: PositiveReal = Field(description="training time of each run, turned into steps by timing them in turns")

    @field_validator("cuts", "blocks", "patches", "seeds")
    @classmethod
    def _each_once(cls, values: list) -> list:
        return unique(values)

    @field_validator("losses")
    @classmethod
    def _known_terms(cls, sets: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
        return {name: known_terms(weights) for name, weights in sets.items()}
