"""Section about what fsr is compared with: methods of others, and the field otherwise made; how they are trained."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from fsr.config.kinds import Count, Cut, Positive, PositiveReal, Weight, unique
from fsr.config.method import FieldSize, known_terms
from fsr.sections import Section, validated

Budget = Literal["steps", "time"]
Window = Annotated[int, Field(ge=2)]
SMALLEST_FIELD = {"hidden": 8, "blocks": 1, "block": "residual", "patch": 1, "gate": "none"}
Blocks = Annotated[list[Positive], Field(min_length=1)]


class Lua(Section):
    """LUA: a SwinIR body on the raw latent, with a head per scale; trained in three stages."""

    kind: Literal["lua"]
    weights: str | None = Field(description="a checkpoint to use as it is (lua_flux.pth); null to train one")
    embed: Positive = Field(description="channels of the body; a multiple of heads (published: 360)")
    depths: Blocks = Field(description="Swin layers of each residual group (published: 6 groups of 6)")
    heads: Positive = Field(description="attention heads (published: 12)")
    window: Window = Field(description="side of the attention window in latent pixels (published: 16)")
    head_width: Positive = Field(description="channels of the heads (published: 256)")


class Lsrna(Section):
    """LSRNA's LSR module: a SwinIR body and LIIF on the scaled latent, with a bicubic skip."""

    kind: Literal["lsrna"]
    weights: str | None = Field(description="a checkpoint to use as it is; null to train one")
    embed: Positive = Field(description="channels of the body; a multiple of heads (published: 60)")
    depths: Blocks = Field(description="Swin layers of each residual group (published: 4 groups of 6)")
    heads: Positive = Field(description="attention heads (published: 6)")
    window: Window = Field(description="side of the attention window in latent pixels (published: 8)")
    features: Positive = Field(description="channels LIIF unfolds (published: 64)")
    hidden: Blocks = Field(description="widths of LIIF's hidden layers (published: 4 of 256)")
    queries: Positive = Field(description="latent pixels of high resolution per crop and step (published: 4096)")


class Pixel(Section):
    """Any super-resolution model spandrel reads (SwinIR, HAT, Real-ESRGAN, SPAN, ...)."""

    kind: Literal["pixel"]
    weights: str = Field(description="its file")
    source: Literal["decoded", "image"] = Field(
        description="what it enlarges: the decode of the low-resolution latent, as after a generator; or the image"
    )
    tile: Annotated[int, Field(ge=32)] | None = Field(
        description="side in pixels of the overlapping tiles larger images are enlarged in; null: whole"
    )


class OtherField(Section):
    """The field at another cut, of another size or trained by other weights: what one choice of train is worth."""

    kind: Literal["fsr"]
    cut: Cut | Literal["best"] = Field(description="'best' takes the one fsr was trained at")
    field: dict[str, int | str] = Field(description="keys that differ from train.field")
    losses: dict[str, Weight] = Field(description="weights that differ from train.losses")
    group: Annotated[str, Field(pattern=r"^[a-z ]*$")] = Field(
        description="fields of one group stand in one table of cuts, beside the probe's scores; empty for none"
    )

    @field_validator("field")
    @classmethod
    def _sound_field(cls, changes: dict[str, int | str]) -> dict[str, int | str]:
        validated(FieldSize, SMALLEST_FIELD | changes, "field")
        return changes

    @field_validator("losses")
    @classmethod
    def _known_terms(cls, weights: dict[str, float]) -> dict[str, float]:
        return known_terms(weights)


Rival = Annotated[Lua | Lsrna | Pixel | OtherField, Field(discriminator="kind")]


class Rivals(Section):
    seeds: list[Count] = Field(
        description="further seeds, each with the rows <row>_seed<N>: fsr_seed1, lua_small_time_seed1"
    )
    methods: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$")], Rival] = Field(
        description="name -> what it is; the rows of benchmark.upscalers decide which are trained"
    )
    learning_rates: Annotated[list[PositiveReal], Field(min_length=1)] = Field(
        description="each is tried for search_steps; the best on held-out crops is used"
    )
    search_steps: Positive

    @field_validator("learning_rates", "seeds")
    @classmethod
    def _each_once(cls, values: list[float]) -> list[float]:
        return unique(values)

    @field_validator("methods")
    @classmethod
    def _sound(cls, methods: dict[str, Rival]) -> dict[str, Rival]:
        for name, method in methods.items():
            if name == "fsr":
                raise ValueError("'fsr' is the field's own name; call the method otherwise")
            if isinstance(method, Lua | Lsrna) and method.embed % method.heads:
                raise ValueError(f"{name}: embed must be a multiple of heads {method.heads}, not {method.embed}")
        return methods
