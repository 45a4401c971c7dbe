"""Typed parameters. An unknown key is an error; nothing has a default here, every key stands in params.yaml."""

import json
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from fsr.sections import Section

REPORTED_ROWS = ("fsr", "feature_bicubic", "decoded_bicubic", "vae_roundtrip")

Cut = Literal["f1", "f2", "f3", "f4", "f5"]
ProtocolName = Literal["strict", "prototype"]
Dtype = Literal["float32", "bfloat16"]
Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
PositiveReal = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]


def _unique(names: list[str]) -> list[str]:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)} is named twice; list each once")
    return names


class Runtime(Section):
    device: str = Field(description="torch device: cpu, cuda, cuda:1")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        description="autocast dtype of encoding, probe and training; auto: bfloat16 where the device computes in it"
    )
    threads: Positive = Field(
        description="CPU threads of one job; tables are reproducible to the bit for a fixed number"
    )


class Data(Section):
    train: Annotated[list[str], Field(min_length=1)] = Field(description="training sets, names of data/datasets.csv")
    validation: list[str] = Field(
        description="sets of the held-out crops; empty for a band of each training image that no training crop touches"
    )
    test: Annotated[list[str], Field(min_length=1)] = Field(description="test sets, names of data/datasets.csv")
    reference: list[str] = Field(description="sets that distribution metrics compare with")
    optional: list[str] = Field(
        description="test and reference sets that are neither fetched nor generated: where they are not at hand, the "
        "study goes on and its tables say so"
    )
    mirror: str | None = Field(description="root of a local mirror; null takes the environment variable FSR_MIRROR")
    folders: dict[str, str] = Field(description="set name -> folder, for sets kept elsewhere")
    exclude: dict[str, list[str]] = Field(
        description="training or validation set -> images to leave out, as file names without suffix"
    )
    leakage: Literal["stop", "report"] = Field(
        description="what a training image that shows a test image does: end the study, or be named in its report"
    )

    @property
    def learning(self) -> list[str]:
        """The sets training and its validation see."""
        return list(dict.fromkeys(self.train + self.validation))

    @property
    def held_back(self) -> list[str]:
        """The sets they must not see."""
        return list(dict.fromkeys(self.test + self.reference))

    @model_validator(mode="after")
    def _consistent(self) -> "Data":
        both = sorted(set(self.learning) & set(self.held_back))
        if both:
            raise ValueError(
                f"{', '.join(both)} cannot be both a training (or validation) and a test (or reference) set; take it "
                "out of one"
            )
        both = sorted(set(self.train) & set(self.validation))
        if both:
            raise ValueError(f"{', '.join(both)} cannot be both a training and a validation set; take it out of one")
        for key, names, known in (
            ("optional", self.optional, self.held_back),
            ("exclude", self.exclude, self.learning),
        ):
            stray = [name for name in names if name not in known]
            if stray:
                raise ValueError(f"{key} names {', '.join(stray)}, which must be one of {', '.join(known)}")
        return self


class Generate(Section):
    """The generated test set (FLUX179)."""

    model: str = Field(description="hub id or local folder of a diffusers FluxPipeline")
    revision: str | None = Field(description="a commit, to pin a hub id")
    prompts: str | None = Field(
        description="a text file with a prompt a line, or a CSV with a column prompt; null for the published prompts"
    )
    size: Annotated[int, Field(ge=16, multiple_of=16)] = Field(description="side of the images in pixels")
    steps: Positive = Field(description="denoising steps")
    guidance: Weight = Field(description="guidance scale")
    dtype: Dtype
    offload: Literal["none", "model", "sequential"] = Field(
        description="keep parts of the model on the CPU while they rest, where the device is short of memory"
    )


class Vae(Section):
    family: Literal["AutoencoderKL", "AutoencoderKLFlux2", "AutoencoderTiny", "TAEF2"] = Field(
        alias="class", description="class of the frozen autoencoder: diffusers' name, or TAEF2"
    )
    path: str = Field(
        description="'embedded', a local folder, a hub id; for TAEF2 also 'public' (mirror, else its source)"
    )
    subfolder: str | None
    revision: str | None
    dtype: Dtype = Field(description="dtype of the frozen weights")
    tile: Annotated[int, Field(ge=128, multiple_of=64)] | None = Field(
        description="larger images are encoded and decoded in overlapping tiles of this side in pixels; null: whole"
    )

    @model_validator(mode="after")
    def _named_place(self) -> "Vae":
        places = {"embedded": "AutoencoderKL", "public": "TAEF2"}
        if places.get(self.path, self.family) != self.family:
            raise ValueError(f"path {self.path!r} is of class {places[self.path]}, not {self.family}; correct one")
        return self


class Latents(Section):
    protocol: ProtocolName = Field(description="how the low-resolution crops are made (docs/protocol.md)")
    crops: Positive = Field(description="training crops")
    validation_crops: Positive = Field(
        description="held-out crops, from a band of each training image that no training crop touches"
    )
    validation_fraction: Annotated[float, Field(gt=0, lt=0.5)] = Field(
        description="share of an image's longer side in that band (at least one crop)"
    )
    crop_size: Annotated[int, Field(ge=16)] = Field(description="side of the high-resolution crops in pixels")
    file_crops: Positive = Field(description="crops per safetensors file, the unit of resumption")
    shards: Positive = Field(description="independent jobs that encode the files; any number makes the same bytes")
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

    @field_validator("cuts")
    @classmethod
    def _each_once(cls, names: list[str]) -> list[str]:
        return _unique(names)


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
    protocols: Annotated[list[ProtocolName], Field(min_length=1)] = Field(
        description="how numbers are made (docs/protocol.md); the report's figures show the first"
    )
    upscalers: Annotated[list[str], Field(min_length=1)]
    dtype: Dtype = Field(description="float32 for numbers to publish")
    batch: Positive = Field(description="images of one size that are encoded and decoded at once")
    lpips: Literal["off", "auto", "alex", "vgg"] = Field(
        description="auto: if its backbone is at hand; a name: an error if it is not"
    )
    bootstrap: Positive

    @field_validator("protocols", "upscalers")
    @classmethod
    def _each_once(cls, names: list[str]) -> list[str]:
        return _unique(names)


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
    generate: Generate
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


def schema_text() -> str:
    """JSON schema of params.yaml, as kept in workflow/schemas/."""
    return json.dumps(Params.model_json_schema(by_alias=True), indent=2) + "\n"
