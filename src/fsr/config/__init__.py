"""Typed parameters. An unknown key is an error; nothing has a default here, every key stands in params.yaml."""

import json
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from fsr.config.benchmark import Benchmark, Distribution, Perceptual, RuntimeSizes
from fsr.config.data import Data, Generate, Latents, Vae
from fsr.config.kinds import Count, Dtype, Positive, unique
from fsr.config.method import Ablation, Consistency, FieldSize, Losses, Probe, ScoreWeights, Train
from fsr.config.rivals import Lsrna, Lua, OtherField, Pixel, Rivals
from fsr.config.rows import FIXED, rival_rows
from fsr.sections import Section

__all__ = [
    "Ablation",
    "Benchmark",
    "Consistency",
    "Data",
    "Distribution",
    "Dtype",
    "FieldSize",
    "Generate",
    "Latents",
    "Losses",
    "Lsrna",
    "Lua",
    "OtherField",
    "Params",
    "Perceptual",
    "Pixel",
    "Probe",
    "Report",
    "Rivals",
    "Runtime",
    "RuntimeSizes",
    "ScoreWeights",
    "Tracking",
    "Train",
    "Vae",
    "schema_text",
]

REPORTED_ROWS = ("fsr", "feature_bicubic", "decoded_bicubic", "vae_roundtrip")


class Runtime(Section):
    device: str = Field(description="torch device: cpu, cuda, cuda:1")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        description="autocast dtype of encoding, probe and training; auto: bfloat16 where the device computes in it"
    )
    threads: Positive = Field(
        description="CPU threads of one job; tables are reproducible to the bit for a fixed number"
    )


class Tracking(Section):
    """Weights & Biases, beside the log that is always written. Its key comes from the environment (WANDB_API_KEY)."""

    mode: Literal["disabled", "offline", "online"]
    project: str


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
    scales: Annotated[list[Literal[2, 4]], Field(min_length=1)] = Field(
        description="enlargements one field is trained for; each is measured"
    )
    runtime: Runtime
    data: Data
    generate: Generate
    vae: Vae
    latents: Latents
    probe: Probe
    train: Train
    tracking: Tracking
    ablation: Ablation
    rivals: Rivals
    benchmark: Benchmark
    report: Report

    @field_validator("scales")
    @classmethod
    def _each_once(cls, scales: list[int]) -> list[int]:
        return sorted(unique(scales))

    @model_validator(mode="after")
    def _consistent(self) -> "Params":
        step, size = 8 * max(self.scales), self.latents.crop_size
        if size % step:
            raise ValueError(f"latents.crop_size must be a multiple of {step} (8 x the largest scale), not {size}")
        if self.train.batch % self.train.processes:
            raise ValueError(
                f"train.batch must be a multiple of train.processes {self.train.processes}, not {self.train.batch}"
            )
        tile = self.train.feature_tile
        if tile is not None and tile > size:
            raise ValueError(f"train.feature_tile must be at most latents.crop_size {size}, not {tile}; null for whole")
        if self.train.cut != "best" and self.train.cut not in self.probe.cuts:
            raise ValueError(f"train.cut {self.train.cut} is not among probe.cuts; add it there")
        if self.seed in self.rivals.seeds:
            raise ValueError(f"rivals.seeds holds the study's own seed {self.seed}; name others, or none")
        rivals = rival_rows(self.rivals)
        known = (*FIXED, *rivals)
        unknown = [name for name in self.benchmark.upscalers if name not in known]
        if unknown:
            raise ValueError(f"benchmark.upscalers names {', '.join(unknown)}; choose among {', '.join(known)}")
        trained = [rivals[name] for name in self.benchmark.upscalers if name in rivals and rivals[name].budget]
        if self.train.consistency.weight and any(row.budget == "time" for row in trained):
            raise ValueError(
                "a row of the same time cannot be had with train.consistency, whose cost varies; use rows of the same "
                "steps, or set its weight to 0"
            )
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
