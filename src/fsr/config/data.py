"""Sections about what goes in: images, the frozen autoencoder, the latent cache."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from fsr.config.kinds import Dtype, Positive, ProtocolName, Weight
from fsr.sections import Section


class Data(Section):
    train: Annotated[list[str], Field(min_length=1)] = Field(description="training sets, names of data/datasets.csv")
    validation: list[str] = Field(
        description="sets of the held-out crops; empty for a band of each training image that no training crop touches"
    )
    test: Annotated[list[str], Field(min_length=1)] = Field(description="test sets, names of data/datasets.csv")
    base_only: list[str] = Field(
        description="sets whose images are enlarged as they are, without a high-resolution original: generated images, "
        "or a folder of yours"
    )
    reference: list[str] = Field(description="sets that distribution metrics compare with")
    optional: list[str] = Field(
        description="held-back sets that are neither fetched nor generated: where they are not at hand, the study goes "
        "on and its tables say so"
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
        return list(dict.fromkeys(self.test + self.base_only + self.reference))

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
    crop_size: Annotated[int, Field(ge=48)] = Field(
        description="side of the high-resolution crops in pixels; measures leave 16 pixels on each side out"
    )
    file_crops: Positive = Field(description="crops per safetensors file, the unit of resumption")
    shards: Positive = Field(description="independent jobs that encode the files; any number makes the same bytes")
    batch: Positive = Field(description="crops encoded at once")
    dtype: Literal["float32", "float16", "bfloat16"] = Field(description="dtype of the stored latents")
