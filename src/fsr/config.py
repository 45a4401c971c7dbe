"""Typed parameters. An unknown key is an error; nothing has a default here, every key stands in params.yaml."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

REPORTED_ROWS = ("fsr", "feature_bicubic", "decoded_bicubic", "vae_roundtrip")

Cut = Literal["f1", "f2", "f3", "f4", "f5"]
Dtype = Literal["float32", "bfloat16"]
Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
PositiveReal = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


T = TypeVar("T", bound=Section)


class Runtime(Section):
    device: str = Field(description="torch device: cpu, cuda, cuda:1")
    dtype: Dtype = Field(description="autocast dtype of encoding, probe and training")
    threads: Positive = Field(
        description="CPU threads of one job; tables are reproducible to the bit for a fixed number"
    )


class Data(Section):
    train: Annotated[list[str], Field(min_length=1)] = Field(description="training sets, names of data/datasets.csv")
    test: Annotated[list[str], Field(min_length=1)] = Field(description="test sets, names of data/datasets.csv")
    mirror: str | None = Field(description="root of a local mirror; null takes the environment variable FSR_MIRROR")
    folders: dict[str, str] = Field(description="set name -> folder, for sets kept elsewhere")

    @model_validator(mode="after")
    def _disjoint(self) -> "Data":
        both = sorted(set(self.train) & set(self.test))
        if both:
            raise ValueError(f"{', '.join(both)} cannot be both a training and a test set; take it out of one")
        return self


class Vae(Section):
    family: Literal["AutoencoderKL"] = Field(alias="class", description="diffusers class of the frozen autoencoder")
    path: str = Field(description="'embedded', a local folder, or a hub id")
    subfolder: str | None
    revision: str | None
    dtype: Dtype = Field(description="dtype of the frozen weights")


class Latents(Section):
    crops: Positive = Field(description="training crops")
    validation_crops: Positive = Field(
        description="held-out crops, from a band of each training image that no training crop touches"
    )
    validation_fraction: Annotated[float, Field(gt=0, lt=0.5)] = Field(
        description="share of an image's longer side in that band (at least one crop)"
    )
    crop_size: Annotated[int, Field(ge=16)] = Field(description="side of the high-resolution crops in pixels")
    shard_size: Positive = Field(description="crops per safetensors shard, the unit of resumption")
    batch: Positive = Field(description="crops encoded at once")
    dtype: Literal["float32", "float16", "bfloat16"] = Field(description="dtype of the stored latents")


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
    margin: Weight = Field(description="cuts closer than this are called ambiguous in selected_cut.json")
    bootstrap: Positive = Field(description="resamples of the interval")

    @model_validator(mode="after")
    def _unique(self) -> "Probe":
        if len(set(self.cuts)) < len(self.cuts):
            raise ValueError("probe.cuts names a cut twice; list each once")
        return self


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


class Train(Section):
    cut: Literal["best", "f1", "f2", "f3", "f4", "f5"] = Field(
        description="'best' takes the probe's; a name overrides it"
    )
    field: FieldSize
    losses: Losses
    pixel_loss_every: Positive = Field(description="pixel terms on every n-th step")
    sigma_max: Weight = Field(description="noise of the bridge at its middle")
    statistics: Literal["cache", "running"] = Field(
        description="feature statistics from the cache once, or running (momentum 0.01)"
    )
    statistics_crops: Positive
    steps: Positive = Field(description="optimiser steps")
    hours: PositiveReal | None = Field(
        description="wall-clock budget; null for none (a budget makes a run irreproducible)"
    )
    batch: Positive
    accumulation: Positive
    lr: PositiveReal
    warmup_steps: Count
    decay_from: Share = Field(description="share of the steps after which the learning rate falls linearly to zero")
    weight_decay: Weight
    clip_grad_norm: PositiveReal
    ema_decay: Share
    checkpoint_tail: bool = Field(
        description="recompute the tail's activations in the backward pass: less memory, more time"
    )
    checkpoint_field: bool
    validate_every: Positive
    checkpoint_every: Positive


class Benchmark(Section):
    protocol: Literal["strict"]
    upscalers: Annotated[list[str], Field(min_length=1)]
    dtype: Dtype = Field(description="float32 for numbers to publish")
    lpips: Literal["off", "auto", "alex", "vgg"] = Field(
        description="auto: if its backbone is at hand; a name: an error if it is not"
    )
    bootstrap: Positive


class Report(Section):
    gallery: Annotated[list[str], Field(min_length=2)] = Field(
        description="rows shown as pictures, before/after pairs on the page"
    )
    zooms: Positive = Field(
        description="zoomed crops, the ones where fsr gains most over feature_bicubic and where it gains least"
    )
    zoom_size: Annotated[int, Field(ge=16)]


class Params(Section):
    experiment: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")] = Field(
        description="results go to results/<experiment>/"
    )
    seed: Count
    scale: Literal[2, 4]
    runtime: Runtime
    data: Data
    vae: Vae
    latents: Latents
    probe: Probe
    train: Train
    benchmark: Benchmark
    report: Report

    @model_validator(mode="after")
    def _consistent(self) -> "Params":
        step, size = 8 * self.scale, self.latents.crop_size
        if size % step:
            raise ValueError(f"latents.crop_size must be a multiple of {step} (8 x scale), not {size}")
        if self.train.cut != "best" and self.train.cut not in self.probe.cuts:
            raise ValueError(f"train.cut {self.train.cut} is not among probe.cuts; add it there")
        needed = [name for name in REPORTED_ROWS if name not in self.benchmark.upscalers]
        needed += [name for name in ("fsr", "feature_bicubic") if name not in self.report.gallery]
        if needed:
            raise ValueError(
                f"the report needs {', '.join(dict.fromkeys(needed))}; add it to benchmark.upscalers and report.gallery"
            )
        missing = [name for name in self.report.gallery if name not in (*self.benchmark.upscalers, "hr", "lr")]
        if missing:
            raise ValueError(f"report.gallery names {', '.join(missing)}, which benchmark.upscalers does not make")
        return self


class CropPhase(Section):
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


def validated(model: type[T], values: Mapping[str, Any], name: str) -> T:
    """`values` as a typed section.

    Raises:
        ValueError: one line that names the file, each wrong key and what is expected of it.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ValueError(f"{name}: " + "; ".join(_explained(item) for item in error.errors())) from None


def read_yaml(model: type[T], path: Path | str) -> T:
    """A YAML file as a typed section.

    Raises:
        ValueError: not YAML, or not a mapping of known keys with values in range.
    """
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    return validated(model, values, str(path))


def _explained(item: Mapping[str, Any]) -> str:
    place = ".".join(str(part) for part in item["loc"])
    match item["type"]:
        case "extra_forbidden":
            return f"{place} is not a known key; check its spelling against params.yaml, or remove it"
        case "missing":
            return f"{place} is missing; copy it from params.yaml"
        case "value_error":
            return f"{place}: {item['ctx']['error']}" if place else str(item["ctx"]["error"])
        case _:
            return f"{place} is {item['input']!r}: {item['msg'][0].lower()}{item['msg'][1:]}"


def schema_text() -> str:
    """JSON schema of params.yaml, as kept in workflow/schemas/."""
    return json.dumps(Params.model_json_schema(by_alias=True), indent=2) + "\n"
