"""The choices of the field, compared: block x grid x loss set x cut, each trained for the same time on the same crops.

Time is turned into steps first, by timing all of them in turns in one process, so that the runs themselves are
repeatable and may share a machine. What decides is PSNR on held-out crops; no test image is seen.
"""

import statistics
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
import torch

from fsr.autoencoders import FrozenAutoencoder
from fsr.config import Params
from fsr.files import read_json, write_json, write_text
from fsr.flow.field import build_field
from fsr.precision import autocast, autocast_dtype
from fsr.probe import count_flops
from fsr.timing import ROUNDS, in_turns, seconds_of
from fsr.train import field_trainer
from fsr.upscalers import Fsr, Sample
from fsr.variants import Variant, variants

GROUP = ["cut", "block", "patch", "losses"]


@dataclass(frozen=True)
class Cost:
    """What a variant costs on the machine that timed it.

    Attributes:
        step_seconds: an optimiser step. steps: how many fit into `ablation.minutes`.
        render_seconds: from the latent of a crop to its image. render_gflops: likewise. parameters: of the field.
    """

    name: str
    step_seconds: float
    steps: int
    render_seconds: float
    render_gflops: float
    parameters: int


def params_of(params: Params, variant: Variant, seed: int, steps: int) -> Params:
    """The parameters of a variant's run: `train`, with its field, weights and steps."""
    field = params.train.field.model_copy(update={"block": variant.block, "patch": variant.patch})
    losses = params.train.losses.model_copy(update=params.ablation.losses[variant.losses])
    changes = {"cut": variant.cut, "field": field, "losses": losses, "steps": steps, "hours": None}
    train = params.train.model_copy(update=changes | {"validate_every": steps})
    return params.model_copy(update={"train": train, "seed": seed})


def time_variants(
    params: Params, manifest: Path, autoencoder: FrozenAutoencoder, output: Path, threads: int, work: Path
) -> None:
    """Time a training step and an inference of every variant, in turns, and write what each costs.

    Raises:
        ValueError: no such cut, or a field that does not fit its features.
    """
    torch.set_num_threads(threads)
    timed = {
        variant.name: _Timed(params, variant, manifest, autoencoder, work) for variant in variants(params.ablation)
    }
    in_turns("time variants", {name: item.measure for name, item in timed.items()})
    write_json(output, [asdict(item.cost(params.ablation.minutes * 60)) for item in timed.values()])


class _Timed:
    """A variant's trainer, and the seconds its steps and inferences took."""

    def __init__(
        self, params: Params, variant: Variant, manifest: Path, autoencoder: FrozenAutoencoder, work: Path
    ) -> None:
        self.name = variant.name
        own = params_of(params, variant, params.ablation.seeds[0], ROUNDS + 1)
        self.trainer = field_trainer(own, variant.cut, manifest, autoencoder, work)
        self.feed = self.trainer.feed()
        self.batch = self.trainer.recipe.validator.cache.batch([0], params.scales[0]).to(autoencoder.device)
        self.step_seconds: list[float] = []
        self.render_seconds: list[float] = []

    def measure(self) -> None:
        self.step_seconds.append(seconds_of(lambda: self.trainer.optimise(self.feed), self.trainer.device))
        self.trainer.step += 1
        self.render_seconds.append(seconds_of(self.infer, self.trainer.device))

    @torch.no_grad()
    def infer(self) -> None:
        """From the latent of a held-out crop to its image."""
        sample = Sample(self.trainer.recipe.autoencoder, self.batch.x_L_rec, self.batch.scale)
        sample.z_L, runtime = self.batch.z_L, self.trainer.params.runtime
        with autocast(runtime.device, autocast_dtype(runtime)):
            Fsr(self.trainer.model.eval())(sample)

    def cost(self, budget: float) -> Cost:
        step, render = (statistics.median(times[1:]) for times in (self.step_seconds, self.render_seconds))
        parameters = sum(parameter.numel() for parameter in self.trainer.model.parameters())
        return Cost(self.name, step, max(1, round(budget / step)), render, count_flops(self.infer) / 1e9, parameters)


def train_variant(
    params: Params,
    name: str,
    seed: int,
    costs: Path,
    manifest: Path,
    autoencoder: FrozenAutoencoder,
    output: Path,
    threads: int,
    work: Path,
) -> None:
    """Train one variant with one seed for its steps and write how it does on held-out crops.

    Raises:
        ValueError: `ablation` has no such variant.
        FloatingPointError: too many steps in a row were not finite.
    """
    torch.set_num_threads(threads)
    variant = {variant.name: variant for variant in variants(params.ablation)}.get(name)
    cost = {cost["name"]: Cost(**cost) for cost in read_json(costs)}.get(name)
    if variant is None or cost is None:
        known = ", ".join(variant.name for variant in variants(params.ablation))
        raise ValueError(f"{name!r} is no variant of ablation; choose one of {known}")
    trainer = field_trainer(params_of(params, variant, seed, cost.steps), variant.cut, manifest, autoencoder, work)
    trainer.run(cost.steps)
    measured = {key: trainer.log.rows[-1][key] for key in ("validation_psnr", "validation_rgb_l1", "validation_margin")}
    start = trainer.recipe.validator.measure(build_field(params, variant.cut, autoencoder).to(trainer.device)).psnr
    write_json(output, asdict(variant) | {"seed": seed, "feature_bicubic_psnr": start} | measured | asdict(cost))


def tabulate(runs: list[Path], table: Path, sheet: Path) -> None:
    """Write one line per variant: mean PSNR over seeds and its spread, and what it costs; as CSV and as Markdown.

    A variant is `efficient` when no other has both a higher PSNR and a faster inference.
    """
    frame = pd.DataFrame([read_json(run) for run in runs])
    lines = frame.groupby(GROUP, sort=False).agg(
        seeds=("seed", "count"),
        psnr=("validation_psnr", "mean"),
        spread=("validation_psnr", lambda values: values.max() - values.min()),
        feature_bicubic=("feature_bicubic_psnr", "mean"),
        four_step_margin=("validation_margin", "mean"),
        steps=("steps", "first"),
        step_seconds=("step_seconds", "first"),
        render_seconds=("render_seconds", "first"),
        render_gflops=("render_gflops", "first"),
        parameters=("parameters", "first"),
    )
    lines = lines.reset_index().sort_values("psnr", ascending=False, kind="stable")
    lines.insert(6, "gain", lines["psnr"] - lines["feature_bicubic"])
    lines["efficient"] = lines["psnr"] >= lines.sort_values("render_seconds")["psnr"].cummax().reindex(lines.index)
    write_text(table, lines.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    write_text(sheet, _markdown(lines))


def _markdown(lines: pd.DataFrame) -> str:
    columns = {
        "cut": "cut",
        "block": "block",
        "patch": "patch",
        "losses": "loss set",
        "psnr": "PSNR (dB)",
        "spread": "spread over seeds",
        "gain": "over feature bicubic",
        "steps": "steps",
        "render_seconds": "inference (ms)",
        "render_gflops": "inference (GFLOP)",
        "parameters": "parameters",
        "efficient": "efficient",
    }
    shown = lines[list(columns)].assign(
        render_seconds=lines["render_seconds"] * 1000, efficient=lines["efficient"].map({True: "yes", False: ""})
    )
    formats = {"psnr": "{:.2f}", "spread": "{:.2f}", "gain": "{:+.2f}", "render_seconds": "{:.0f}",
               "render_gflops": "{:.1f}", "parameters": "{:,}"}  # fmt: skip
    rows = [[formats.get(name, "{}").format(value) for name, value in row.items()] for _, row in shown.iterrows()]
    head = [list(columns.values()), ["---"] * len(columns)]
    return "".join("| " + " | ".join(line) + " |\n" for line in head + rows)
