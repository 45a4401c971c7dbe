"""Training what fsr is compared with as fsr is: on the same crops in the same order, by the same loop, for as long.

"As long" has two meanings, and a study may use both: as many optimiser steps, or as much time. Time is turned into
steps by timing a step of each method in turns in one process, so that the runs themselves are repeatable.
"""

import math
import statistics
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from fsr.autoencoders import FrozenAutoencoder
from fsr.config import OtherField, Params
from fsr.config.rows import FSR, RivalRow, trained_methods, trained_rows
from fsr.files import read_json, write_json
from fsr.memory import memory_explained
from fsr.rivals.recipe import build_recipe
from fsr.timing import ROUNDS, in_turns, seconds_of
from fsr.train import FieldRecipe, RunFiles, Trainer, export
from fsr.train.recipe import Recipe

STAGES = 3  # LUA's: a step of each is timed
REMEDY = "set train.batch or the sizes in rivals.methods lower"


def trainer_of(
    params: Params, method: str, cut: str, manifest: Path, autoencoder: FrozenAutoencoder, work: Path
) -> Trainer:
    """The run of "fsr" at `cut`, or of a method of `rivals.methods`; another field may have a cut of its own.

    Raises:
        ValueError: no such method, or none that is trained.
    """
    settings = params.rivals.methods.get(method)
    if isinstance(settings, OtherField):
        params, cut = with_field_of(params, settings), cut if settings.cut == "best" else settings.cut
    of_field = method == FSR or isinstance(settings, OtherField)
    recipe: Recipe = FieldRecipe(params, cut, autoencoder) if of_field else build_recipe(params, method, autoencoder)
    return Trainer(params, recipe, manifest, work)


def with_field_of(params: Params, other: OtherField) -> Params:
    """`params` as another field is trained by them."""
    field, losses = (
        section.model_copy(update=changes)
        for section, changes in ((params.train.field, other.field), (params.train.losses, other.losses))
    )
    return params.model_copy(update={"train": params.train.model_copy(update={"field": field, "losses": losses})})


def search_rate(
    params: Params,
    method: str,
    cut: str,
    manifest: Path,
    autoencoder: FrozenAutoencoder,
    output: Path,
    threads: int,
    work: Path,
) -> None:
    """Train `method` for `rivals.search_steps` at each of `rivals.learning_rates`; write how held-out crops came out.

    Raises:
        ValueError: no such method, or none that is trained.
        FloatingPointError: no learning rate gave finite steps.
    """
    torch.set_num_threads(threads)
    steps, runs = params.rivals.search_steps, []
    for rate in params.rivals.learning_rates:
        own = changed(params, lr=rate, steps=steps, validate_every=steps)
        trainer = trainer_of(own, method, cut, manifest, autoencoder, work)
        psnr, reason = math.nan, "validation is not finite"
        try:
            with memory_explained(f"the search for {method}'s learning rate", REMEDY):
                trainer.run(steps)
            psnr = trainer.log.rows[-1]["validation_psnr"]
        except FloatingPointError as error:
            reason = str(error)
        told = (
            {"validation_psnr": psnr, "reason": ""}
            if math.isfinite(psnr)
            else {"validation_psnr": None, "reason": reason}
        )
        runs.append({"lr": rate, **told})
    finite = [run for run in runs if run["validation_psnr"] is not None]
    if not finite:
        raise FloatingPointError(f"{method} trains at none of rivals.learning_rates; add smaller ones")
    best = max(finite, key=lambda run: run["validation_psnr"])["lr"]
    write_json(output, {"method": method, "steps": steps, "runs": runs, "best": best})


def time_steps(
    params: Params, cut: str, manifest: Path, autoencoder: FrozenAutoencoder, output: Path, threads: int
) -> None:
    """Write the seconds of an optimiser step of fsr and of every method that is trained, timed in turns."""
    torch.set_num_threads(threads)
    own = changed(params, steps=(ROUNDS + 1) * STAGES * turn_of(params))
    with memory_explained("timing all methods side by side", REMEDY), TemporaryDirectory() as fresh:
        timed = {
            method: _Timed(trainer_of(own, method, cut, manifest, autoencoder, Path(fresh)))
            for method in (FSR, *trained_methods(params))
        }
        in_turns("time steps", {method: item.measure for method, item in timed.items()})
    write_json(output, {method: item.step_seconds for method, item in timed.items()})


class _Timed:
    """A trainer, and the seconds its steps took: those of a whole turn of pixel terms and scales, in each stage."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer, self.feed = trainer, trainer.feed()
        starts = (stage * trainer.train.steps // STAGES for stage in range(STAGES))
        steps = (start + step for start in starts for step in range(turn_of(trainer.params)))
        self.seconds: dict[int, list[float]] = {step: [] for step in steps}

    def measure(self) -> None:
        for step, seconds in self.seconds.items():
            self.trainer.step = step
            seconds.append(seconds_of(lambda: self.trainer.optimise(self.feed), self.trainer.device))

    @property
    def step_seconds(self) -> float:
        """Mean over the kinds of steps of the median over rounds."""
        return statistics.mean(statistics.median(seconds[1:]) for seconds in self.seconds.values())


def turn_of(params: Params) -> int:
    """Steps after which every scale has had its turn at pixel terms."""
    return params.train.pixel_loss_every * len(params.scales)


def steps_of(params: Params, model: str, fsr_steps: int, costs: Path | None = None) -> int:
    """How many steps a rival's run has: as many as fsr's, or as many as take its time.

    Args:
        model: as `trained_rows` names them. fsr_steps: how many fsr's run had.
        costs: what `time_steps` wrote; needed where the budget is time.

    Raises:
        ValueError: no such model.
    """
    row = _row(params, model)
    if row.budget == "steps":
        return fsr_steps
    seconds = read_json(costs)
    return max(1, round(fsr_steps * seconds[FSR] / seconds[row.method]))


def train_rival(
    params: Params,
    model: str,
    steps: int,
    cut: str,
    search: Path | None,
    manifest: Path,
    autoencoder: FrozenAutoencoder,
    files: RunFiles,
    threads: int,
    work: Path,
) -> None:
    """Train what a row needs for `steps` steps, at the learning rate its search found, and write its files.

    Args:
        cut: fsr's. search: None for a field, whose rate is `train.lr`.

    Raises:
        ValueError: no such model.
        FloatingPointError: too many steps in a row were not finite.
        OSError: a file cannot be written; the last checkpoint is intact.
    """
    torch.set_num_threads(threads)
    row, rate = _row(params, model), params.train.lr if search is None else read_json(search)["best"]
    own = changed(params, lr=rate, steps=steps, tracking=params.tracking.mode)
    if row.seed is not None:
        own = own.model_copy(update={"seed": row.seed})
    trainer = trainer_of(own, row.method, cut, manifest, autoencoder, work)
    with memory_explained(f"training {model}", REMEDY):
        trainer.run(steps)
    export(trainer, files)


def _row(params: Params, model: str) -> RivalRow:
    rows = {row.model: row for row in trained_rows(params)}
    if model not in rows:
        raise ValueError(f"{model!r} is no row of benchmark.upscalers that is trained; choose one of {', '.join(rows)}")
    return rows[model]


def changed(params: Params, steps: int, tracking: str = "disabled", **train: float) -> Params:
    """`params` for a run of `steps` steps, with some of `train` changed: no budget of hours, no consistency term.

    The learning rate warms up over the same share of the steps.
    """
    consistency = params.train.consistency.model_copy(update={"weight": 0})
    warmup = round(params.train.warmup_steps * steps / params.train.steps)
    fixed = {"steps": steps, "warmup_steps": warmup, "hours": None, "consistency": consistency}
    own = params.train.model_copy(update=fixed | train)
    return params.model_copy(update={"train": own, "tracking": params.tracking.model_copy(update={"mode": tracking})})
