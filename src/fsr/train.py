"""Training the vector field on the latent cache, resumable to the bit."""

import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from fsr.autoencoders import FrozenAutoencoder
from fsr.checkpoint import load_checkpoint, save_checkpoint
from fsr.config import Losses, Params
from fsr.files import sha256_of, sha256_of_file, write_csv, write_json
from fsr.flow import objective
from fsr.flow.field import VectorField, build_field
from fsr.flow.path import FeaturePair, PathSample, draw_times, enlarged_feature, feature_pair, sample_path
from fsr.flow.stats import FeatureStatistics, cache_statistics, running_statistics
from fsr.images import RESAMPLINGS, write_image
from fsr.latents import CROP_BORDER, LatentBatch, LatentCache
from fsr.memory import peak_memory_gib
from fsr.metrics.fidelity import crop_border, psnr
from fsr.precision import autocast_dtype
from fsr.progress import progress_bar
from fsr.randomness import generator, integers

logger = logging.getLogger(__name__)

LOG_EVERY = 10
GRID_ROWS = 6
RANDOM_TIME_TERMS = ("flow", "endpoint", "fft")
PIXEL_TERMS = ("rgb", "low_frequency", "high_frequency")


@dataclass(frozen=True)
class TrainFiles:
    """Where a run leaves its results, and `work`, where it keeps the checkpoint it resumes from."""

    model: Path
    log: Path
    grid: Path
    runtime: Path
    work: Path


class Trainer:
    """One run: a field, its average, its optimiser, and the step they have reached."""

    def __init__(self, params: Params, cut: str, manifest: Path, autoencoder: FrozenAutoencoder, threads: int) -> None:
        torch.set_num_threads(threads)
        self.params, self.train, self.cut = params, params.train, cut
        self.accelerator = Accelerator(
            cpu=params.runtime.device == "cpu",
            mixed_precision="bf16" if autocast_dtype(params.runtime) == "bfloat16" else "no",
            gradient_accumulation_steps=self.train.accumulation,
        )
        self.device = self.accelerator.device
        self.autoencoder = autoencoder.to(self.device)
        self.resampling = RESAMPLINGS[params.latents.protocol]
        self.cache = LatentCache(manifest)
        self.held_out = LatentCache(manifest, "validation")
        self.key = run_key(params, cut, manifest)
        field = build_field(params, cut, autoencoder).to(self.device, memory_format=torch.channels_last)
        field.checkpoint_blocks = self.train.checkpoint_field
        if self.train.statistics == "cache":
            field.set_statistics(self._cache_statistics())
        self.ema = EMAModel(field.parameters(), decay=self.train.ema_decay)
        optimizer = torch.optim.AdamW(field.parameters(), lr=self.train.lr, weight_decay=self.train.weight_decay)
        self.field, self.optimizer = self.accelerator.prepare(field, optimizer)
        self.step, self.seconds, self.rows = 0, 0.0, []

    @property
    def raw_field(self) -> VectorField:
        return self.accelerator.unwrap_model(self.field)

    @torch.no_grad()
    def _cache_statistics(self) -> FeatureStatistics:
        batches = self.cache.batches(self.train.batch, self.train.statistics_crops)
        return cache_statistics(self._pair(batch.to(self.device)) for batch in batches)

    @torch.no_grad()
    def _pair(self, batch: LatentBatch) -> FeaturePair:
        with self.accelerator.autocast():
            pair = feature_pair(self.autoencoder, batch.z_H, batch.z_L, self.cut)
        return FeaturePair(pair.f_B.float(), pair.f_H.float())

    def run(self, work: Path) -> None:
        """Train to the end of the budget, going on from the checkpoint in `work` where there is one."""
        path = work / "checkpoint.safetensors"
        if path.is_file():
            self._resume(path)
        started = time.monotonic() - self.seconds
        with progress_bar(f"train {self.cut}", self.train.steps, self.step) as advance:
            while self.step < self.train.steps and not self._out_of_time(started):
                terms = self._optimise()
                self.step += 1
                advance(f"loss {terms['loss']:.4f}")
                if self.step % self.train.validate_every == 0 or self.step == self.train.steps:
                    terms["validation_psnr"] = self.validate()
                if self.step % LOG_EVERY == 0 or "validation_psnr" in terms:
                    self.rows.append({"step": self.step, **terms})
                if self.step % self.train.checkpoint_every == 0:
                    self._save(path, started)
        self._save(path, started)

    def _out_of_time(self, started: float) -> bool:
        return self.train.hours is not None and time.monotonic() - started >= self.train.hours * 3600

    def _resume(self, path: Path) -> None:
        progress = load_checkpoint(path, model=self.raw_field, ema=self.ema, optimizer=self.optimizer.optimizer)
        self.step, self.seconds, self.rows = progress["step"], progress["seconds"], progress["rows"]
        logger.info("going on from step %d of %s", self.step, path)

    def _save(self, path: Path, started: float) -> None:
        self.seconds = time.monotonic() - started
        save_checkpoint(
            path,
            model=self.raw_field,
            ema=self.ema,
            optimizer=self.optimizer.optimizer,
            progress={"step": self.step, "seconds": self.seconds, "rows": self.rows, "key": self.key},
        )

    def _optimise(self) -> dict[str, float]:
        """One optimiser step over `accumulation` batches; returns the mean of each term and the learning rate."""
        self.field.train()
        rate = self.train.lr * learning_rate_factor(self.step, self.params)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        sums: dict[str, float] = {}
        for micro in range(self.train.accumulation):
            source = generator(self.params.seed, "train", self.step * self.train.accumulation + micro)
            batch = self.cache.batch(integers(len(self.cache), self.train.batch, source)).to(self.device)
            with self.accelerator.accumulate(self.field):
                terms = self._terms(batch, source)
                loss = objective.weighted_sum(terms, self.train.losses)
                self.accelerator.backward(loss)
                if self.accelerator.sync_gradients:
                    self.accelerator.clip_grad_norm_(self.field.parameters(), self.train.clip_grad_norm)
                self.optimizer.step()
                self.optimizer.zero_grad()
            for name, value in {"loss": loss, **terms}.items():
                sums[name] = sums.get(name, 0.0) + value.item() / self.train.accumulation
        if not math.isfinite(sums["loss"]):
            raise FloatingPointError(f"the loss is not finite at step {self.step}; lower train.lr or use float32")
        self.ema.step(self.raw_field.parameters())
        return {"lr": rate, **sums}

    def _terms(self, batch: LatentBatch, source: torch.Generator) -> dict[str, Tensor]:
        """Every term of the objective that has a weight, for one batch."""
        weights, pair, field = self.train.losses, self._pair(batch), self.raw_field
        if self.train.statistics == "running":
            known = FeatureStatistics(field.feature_mean, field.feature_std) if self.step else None
            field.set_statistics(running_statistics(known, pair))
        f_B, f_H = field.normalise(pair.f_B), field.normalise(pair.f_H)
        zero = torch.zeros(len(f_B), device=self.device)
        sample = None
        if uses(weights, RANDOM_TIME_TERMS):
            t = draw_times(len(f_B), source).to(self.device)
            eps = torch.randn(f_B.shape, generator=source).to(f_B)
            sample = sample_path(f_B, f_H, t, eps, self.train.sigma_max)
            output = self.field(torch.cat([sample.f_t, f_B]), torch.cat([t, zero]), torch.cat([f_B, f_B]))
            v_t, v_0 = output.velocity.float().chunk(2)
        else:
            output = self.field(f_B, zero, f_B)
            v_0 = output.velocity.float()
        f_hat = f_B + v_0
        terms = {} if sample is None else self._random_time_terms(sample, v_t, f_H)
        terms["one_step"] = objective.one_step_term(f_hat, f_H)
        terms["drift"] = objective.drift_term(field.denormalise(f_hat), field.denormalise(f_B))
        terms |= objective.gate_terms(None if output.gate is None else output.gate.float())
        if uses(weights, PIXEL_TERMS) and self.step % self.train.pixel_loss_every == 0:
            terms |= objective.pixel_terms(self._images(field.denormalise(f_hat), batch))
        return terms

    def _random_time_terms(self, sample: PathSample, v_t: Tensor, f_H: Tensor) -> dict[str, Tensor]:
        end, field = objective.endpoint(sample, v_t), self.raw_field
        return {
            "flow": objective.flow_term(sample, v_t),
            "endpoint": objective.endpoint_term(end, f_H),
            "fft": objective.fft_term(field.denormalise(end), field.denormalise(f_H)),
        }

    def _images(self, features: Tensor, batch: LatentBatch) -> objective.Images:
        def tail(f: Tensor) -> Tensor:
            with self.accelerator.autocast():
                return self.autoencoder.tail(f, self.cut)

        recompute = self.train.checkpoint_tail
        x_hat = checkpoint(tail, features, use_reentrant=False) if recompute else tail(features)
        x_base = self.resampling.enlarge(batch.x_L_rec, self.params.scale)
        return objective.Images(*(self.autoencoder.normalise(x) for x in (x_hat, batch.x_H_rec, x_base)))

    @torch.no_grad()
    def render(self, batch: LatentBatch) -> tuple[Tensor, Tensor]:
        """Feature bicubic and one-step images in [0, 1] of a batch, with the weights the field holds now."""
        size = self.autoencoder.feature_shape(self.cut, *batch.x_H_rec.shape[-2:])[1:]
        field = self.raw_field.eval()
        with self.accelerator.autocast():
            features = enlarged_feature(self.autoencoder, batch.z_L, self.cut, size).float()
            f_B = field.normalise(features)
            velocity = field(f_B, torch.zeros(len(f_B), device=self.device), f_B).velocity.float()
            moved = field.denormalise(f_B + velocity)
            images = [self.autoencoder.tail(f, self.cut).clamp(0, 1) for f in (features, moved)]
        return images[0], images[1]

    def validate(self) -> float:
        """Mean PSNR in dB of the one-step images of the averaged weights against x_H_rec, on held-out crops."""
        with self._averaged():
            scores = []
            for batch in self.held_out.batches(self.train.batch):
                batch = batch.to(self.device)
                _, x_hat = self.render(batch)
                inner = (crop_border(x, CROP_BORDER).clamp(0, 1) for x in (x_hat, batch.x_H_rec))
                scores += [psnr(a, b) for a, b in zip(*inner, strict=True)]
        return sum(scores) / len(scores)

    def grid(self) -> Tensor:
        """Held-out crops, a row each: enlarged LR decode, feature bicubic, one-step, reconstruction."""
        batch = self.held_out.batch(list(range(min(GRID_ROWS, len(self.held_out))))).to(self.device)
        with self._averaged():
            bicubic, x_hat = self.render(batch)
        columns = (self.resampling.enlarge(batch.x_L_rec, self.params.scale), bicubic, x_hat, batch.x_H_rec)
        rows = [torch.cat([column[i] for column in columns], dim=2) for i in range(len(x_hat))]
        return torch.cat(rows, dim=1).clamp(0, 1).cpu()

    def _averaged(self) -> "_Averaged":
        return _Averaged(self.raw_field, self.ema)

    def export(self, files: TrainFiles) -> None:
        """Write the averaged field with `save_pretrained`, the log, the grid and what the run cost."""
        write_csv(files.log, self.rows)
        write_image(files.grid, self.grid())
        with self._averaged(), TemporaryDirectory(dir=make_folder(files.model.parent)) as folder:
            self.raw_field.save_pretrained(folder)
            make_folder(files.model)
            for file in sorted(Path(folder).iterdir()):
                file.replace(files.model / file.name)
        cost = {"steps": self.step, "seconds": round(self.seconds, 1), "peak_memory_gib": peak_memory_gib(self.device)}
        write_json(files.runtime, cost | {"autocast": autocast_dtype(self.params.runtime)})


class _Averaged:
    """Inside the block the field holds its averaged weights."""

    def __init__(self, field: VectorField, ema: EMAModel) -> None:
        self.field, self.ema = field, ema

    def __enter__(self) -> None:
        self.ema.store(self.field.parameters())
        self.ema.copy_to(self.field.parameters())

    def __exit__(self, *_: object) -> None:
        self.ema.restore(self.field.parameters())


def train_field(
    params: Params, cut: str, manifest: Path, autoencoder: FrozenAutoencoder, files: TrainFiles, threads: int
) -> None:
    """Train the field at `cut` on the cache and write its files.

    Raises:
        FloatingPointError: the loss diverged.
        ValueError: no such cut, or a checkpoint of another model in the work folder.
        OSError: a file cannot be written; the last checkpoint is intact.
    """
    trainer = Trainer(params, cut, manifest, autoencoder, threads)
    trainer.run(files.work / trainer.key[:16])
    trainer.export(files)


def run_key(params: Params, cut: str, manifest: Path) -> str:
    """What defines a run: parameters that change its weights, the cut, and the cache's content."""
    defining = params.train.model_dump(exclude={"cut", "hours", "validate_every", "checkpoint_every"})
    return sha256_of(defining, autocast_dtype(params.runtime), params.seed, cut, sha256_of_file(manifest))


def learning_rate_factor(step: int, params: Params) -> float:
    """Linear warm-up, constant, then linear to zero."""
    train = params.train
    warmup = (step + 1) / train.warmup_steps if train.warmup_steps else 1.0
    return min(1.0, warmup, (1 - step / train.steps) / (1 - train.decay_from))


def uses(weights: Losses, names: tuple[str, ...]) -> bool:
    """Whether any of the terms has a weight."""
    return any(getattr(weights, name) for name in names)


def make_folder(path: Path) -> Path:
    """`path`, made where it is missing."""
    path.mkdir(parents=True, exist_ok=True)
    return path
