"""Section about measuring: which rows, on what, with which metrics."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from fsr.config.kinds import Dtype, Positive, ProtocolName, unique
from fsr.sections import Section

Setting = Literal["skip", "auto", "require"]
FeatureNet = Literal["inception_fidelity", "inception_torchvision", "efficientnet_lite0"]


class Perceptual(Section):
    """skip, auto (where the weights are at hand; else the cells are empty and say why), or require (else an error)."""

    lpips_alex: Setting
    lpips_vgg: Setting
    st_lpips: Setting = Field(description="ST-LPIPS, whose weights come with its package")


class Distribution(Section):
    """Distances between the features of a row's images and of the sets of data.reference."""

    features: list[FeatureNet] = Field(
        description="inception_fidelity: torch-fidelity's; inception_torchvision: the prototype's; efficientnet_lite0: "
        "the one that comes with its package. Weights that are not at hand make empty cells"
    )
    patches: Positive = Field(description="seeded patches of an image")
    patch_size: Annotated[int, Field(ge=32)]
    subset_size: Positive = Field(description="of the kernel distance; at most the number of samples is taken")
    subsets: Positive
    clip: str | None = Field(description="hub id or folder of a CLIP model, for image-text cosines; null for none")

    @field_validator("features")
    @classmethod
    def _each_once(cls, names: list[str]) -> list[str]:
        return unique(names)


class RuntimeSizes(Section):
    sides: list[Annotated[int, Field(ge=32, multiple_of=32)]] = Field(
        description="of the low-resolution images timed, in pixels; empty to time nothing"
    )
    rounds: Positive = Field(description="the rows take turns, once a round")


class Benchmark(Section):
    protocols: Annotated[list[ProtocolName], Field(min_length=1)] = Field(
        description="how numbers are made (docs/protocol.md); the report's figures show the first"
    )
    upscalers: Annotated[list[str], Field(min_length=1)] = Field(description="the rows of the tables, in their order")
    dtype: Dtype = Field(description="float32 for numbers to publish")
    batch: Positive = Field(description="images of one size that are encoded and decoded at once")
    shards: Positive = Field(
        description="independent jobs a set's images are shared out to; any number gives the same table"
    )
    base_only_images: Positive | None = Field(
        description="of each set of data.base_only, by name the first so many; null for all"
    )
    perceptual: Perceptual
    distribution: Distribution
    runtime: RuntimeSizes
    bootstrap: Positive

    @field_validator("protocols", "upscalers")
    @classmethod
    def _each_once(cls, names: list[str]) -> list[str]:
        return unique(names)
