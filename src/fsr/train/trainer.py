"""One run: a model, its average, its optimiser, and the step they have reached; resumable to the bit."""

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from pathlib import Path

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import broadcast_object_list
from diffusers.training_utils import EMAModel
from torch import Tensor

from fsr.checkpoint import claimed, load_checkpoint, save_checkpoint
from fsr.config import Params
from fsr.files import sha256_of_file
from fsr.flow.field import training_layout
from fsr.latents import LatentBatch, LatentCache
from fsr.precision import autocast_dtype
from fsr.progress import progress_bar
from fsr.train.data import Feed, Pass, Passes
from fsr.train.guard import Guard
from fsr.train.log import Log
from fsr.train.recipe import Recipe
from fsr.train.schedule import Clock, learning_rate_factor, run_key
from fsr.train.tracking import open_tracker
from fsr.train.validation import averaged

logger = logging.getLogger(__name__)

LOG_EVERY = 10
CHECKPOINT = "checkpoint.safetensors"


class Trainer:
    """A run of a recipe. The same code is one process or, under `accelerate launch`, one of several.

    Args:
        work: folder of all runs' checkpoints; this one's are in a folder of its own below it.
    """

    def __init__(self, params: Params, recipe: Recipe, manifest: Path, work: Path) -> None:
        self.params, self.train, self.recipe = params, params.train, recipe
        device = torch.device(params.runtime.device)
        self.accelerator = Accelerator(
            device_placement=False,
            cpu=device.type == "cpu",
            mixed_precision="no",
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=recipe.partial)],
        )
        self.device = self.accelerator.device if self.accelerator.num_processes > 1 else device
        self.cache, held_out = LatentCache(manifest), LatentCache(manifest, "validation")
        precision = autocast_dtype(params.runtime)
        self.key = run_key(params, recipe.definition, sha256_of_file(manifest), precision, recipe.unread)
        self.folder = work / self.key[:16]
        self.model = recipe.model.to(self.device, memory_format=training_layout(self.device, precision))
        self.ema = EMAModel(self.model.parameters(), decay=self.train.ema_decay)
        optimizer = torch.optim.AdamW(self.model.parameters(), lr=self.train.lr, weight_decay=self.train.weight_decay)
        self.trained, self.optimizer = self.accelerator.prepare(self.model, optimizer)
        recipe.attach(self.trained, self.ema, held_out, self.accelerator)
        self.guard = Guard(self.train.max_skipped, self.folder, self.accelerator)
        self.step, self.seconds, self.waited, self.log = 0, 0.0, 0.0, Log()
        self._begin()

    def _begin(self) -> None:
        """From the checkpoint where there is one, else as the recipe begins."""
        path = self.folder / CHECKPOINT
        if not path.is_file():
            self.recipe.begin(self.cache)
            return
        progress = load_checkpoint(path, model=self.model, ema=self.ema, optimizer=self.optimizer.optimizer)
        if progress["key"] != self.key:
            raise ValueError(f"{path} belongs to another run; delete it to start this one afresh")
        self.step, self.seconds, self.waited = progress["step"], progress["seconds"], progress["waited"]
        self.log = Log(**progress["log"])
        self.guard.total, self.guard.in_a_row = progress["skipped"], progress["skipped_in_a_row"]
        self.recipe.restore(progress["recipe"])
        logger.info("going on from step %d of %s", self.step, path)

    def _save(self, clock: Clock) -> None:
        self.seconds = clock.seconds
        if self.accelerator.is_main_process:
            progress = {
                "step": self.step,
                "seconds": self.seconds,
                "waited": self.waited,
                "recipe": self.recipe.state(),
                "skipped": self.guard.total,
                "skipped_in_a_row": self.guard.in_a_row,
                "log": self.log.state(),
                "key": self.key,
            }
            save_checkpoint(
                self.folder / CHECKPOINT,
                model=self.model,
                ema=self.ema,
                optimizer=self.optimizer.optimizer,
                progress=progress,
            )

    def feed(self) -> Feed:
        """This process's passes, from the step reached on."""
        state = self.accelerator.state
        passes = Passes(self.params, len(self.cache), self.step, state.process_index, state.num_processes)
        return Feed(self.cache, passes, self.train.workers, self.device)

    def run(self, until: int) -> None:
        """Train to step `until`, or to the end of the budget of hours.

        Raises:
            FloatingPointError: too many steps in a row were not finite.
            OSError: a checkpoint cannot be written; the one before is intact.
        """
        if self.step >= until:
            return
        clock, feed, is_main = Clock(self.seconds), self.feed(), self.accelerator.is_main_process
        tracking = open_tracker(self.params, self.recipe.name, self.key, self.folder, is_main)
        claim = claimed(self.folder) if is_main else nullcontext()
        with claim, tracking as tracker, self._bar(until) as advance:
            while self.step < until and not self._out_of_time(clock):
                told = self.optimise(feed)
                self.step += 1
                advance(f"loss {told['loss']:.4f}")
                self.log.add(told)
                due = self.step % self.train.validate_every == 0 or self.step == self.train.steps
                measured = self.validate() if due else {}
                if measured or self.step % LOG_EVERY == 0:
                    tracker.log(self.log.write_row(self.step, measured))
                if self.step % self.train.checkpoint_every == 0:
                    self._save(clock)
            self._save(clock)

    def _bar(self, until: int) -> AbstractContextManager[Callable[[str], None]]:
        """Progress, which one process shows."""
        if self.accelerator.is_main_process:
            return progress_bar(f"train {self.recipe.name}", until, self.step)
        return nullcontext(lambda note: None)

    def _out_of_time(self, clock: Clock) -> bool:
        """Whether the budget of hours is used up, by the first process's clock."""
        if self.train.hours is None:
            return False
        return broadcast_object_list([clock.seconds >= self.train.hours * 3600])[0]

    def optimise(self, feed: Feed) -> dict[str, float]:
        """One optimiser step over `accumulation` passes; means of the terms, the learning rate, the gradient's norm."""
        self.trained.train()
        rate = self.train.lr * learning_rate_factor(self.step, self.params)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        sums: dict[str, Tensor] = {}
        waited, buffers, fresh = feed.waited, self._buffers(), self.step == self.guard.total
        for turn in range(self.train.accumulation):
            which, batch = feed.next()
            last = turn == self.train.accumulation - 1
            with nullcontext() if last else self.accelerator.no_sync(self.trained):
                terms = self.recipe.terms(batch, which.samples, self.step, first=fresh and turn == 0)
                loss = self.recipe.total(terms, self.step) / self.train.accumulation
                self.accelerator.backward(loss)
            for name, value in {"loss": loss * self.train.accumulation, **terms}.items():
                sums[name] = sums.get(name, 0.0) + value.detach() / self.train.accumulation
        self.waited += feed.waited - waited
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.train.clip_grad_norm)
        values = self.accelerator.reduce(torch.stack([*sums.values(), norm]), "mean").tolist()
        row = {"lr": rate, **dict(zip(sums, values[:-1], strict=True)), "grad_norm": values[-1]}
        if math.isfinite(row["loss"]) and math.isfinite(row["grad_norm"]):
            self.optimizer.step()
            self.ema.step(self.model.parameters())
            self.guard.passed()
        else:
            self.model.load_state_dict(buffers, strict=False)
            self.guard.skipped(self.step, self._whole_step())
        self.optimizer.zero_grad()
        return row | {"skipped": self.guard.total}

    def _buffers(self) -> dict[str, Tensor]:
        """What a pass may change beside the parameters: a step that is skipped must leave it as it was."""
        return {name: value.clone() for name, value in self.model.named_buffers()}

    def _whole_step(self) -> Iterator[tuple[Pass, LatentBatch]]:
        """The passes of the current step in all processes, with their crops."""
        passes = Passes(self.params, len(self.cache), self.step, rank=0, processes=1)
        for which in islice(passes, self.train.accumulation):
            yield which, self.cache.batch(list(which.crops), which.scale)

    def validate(self) -> dict[str, float]:
        """Columns of the log: how the averaged model does on held-out crops."""
        with averaged(self.model, self.ema) as model:
            return self.recipe.validate(model)

    def cost(self) -> Mapping[str, float | str]:
        """What the run took so far."""
        batch = self.train.batch * self.train.accumulation
        return {
            "steps": self.step,
            "seconds": round(self.seconds, 1),
            "crops": self.step * batch,
            "data_wait_share": round(self.waited / self.seconds, 5) if self.seconds else 0.0,
            "skipped_steps": self.guard.total,
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "processes": self.accelerator.num_processes,
            "autocast": autocast_dtype(self.params.runtime),
        }
