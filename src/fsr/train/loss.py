"""The loss of one pass: features of a cached batch, random numbers of its samples, the objective's terms."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fsr.autoencoders import FrozenAutoencoder
from fsr.config import Losses, Params
from fsr.flow import objective
from fsr.flow.field import VectorField, training_layout
from fsr.flow.path import FeaturePair, PathSample, enlarged_feature, feature_pair, sample_path
from fsr.flow.solver import euler
from fsr.flow.stats import Average, FeatureStatistics, running_statistics
from fsr.images import RESAMPLINGS
from fsr.latents import CROP_BORDER, LatentBatch
from fsr.metrics.fidelity import crop_border
from fsr.precision import autocast, autocast_dtype
from fsr.randomness import generator

RANDOM_TIME_TERMS = ("flow", "endpoint", "fft")
FEATURE_TERMS = ("one_step", *RANDOM_TIME_TERMS)  # what asks for f_H
PIXEL_TERMS = ("rgb", "low_frequency", "high_frequency")
TEACHER_STEPS = 4

Window = tuple[int, int]  # top and left of the part of a crop that a pass trains on, in pixels


@dataclass(frozen=True)
class Draws:
    """Random numbers of a batch: times t (B,), noise eps (B, C, H, W) where a term needs it, a window per sample."""

    t: Tensor
    eps: Tensor | None
    windows: tuple[Window, ...]


class StepLoss:
    """The objective's terms at one cut, as functions of a batch, its draws and the step.

    Args:
        field: as it is trained, which may wrap `raw_field` for several processes.
        average: takes a tensor to its mean over processes.
    """

    def __init__(
        self,
        params: Params,
        cut: str,
        autoencoder: FrozenAutoencoder,
        field: nn.Module,
        raw_field: VectorField,
        average: Average | None = None,
    ) -> None:
        self.params, self.train, self.cut = params, params.train, cut
        self.autoencoder, self.field, self.raw_field = autoencoder, field, raw_field
        self.average = average or (lambda values: values)
        self.resampling = RESAMPLINGS[params.latents.protocol]
        self.dtype = autocast_dtype(params.runtime)
        self.layout = training_layout(params.runtime.device, self.dtype)
        self.side = self.train.feature_tile or params.latents.crop_size
        self.shape = autoencoder.feature_shape(cut, self.side, self.side)
        self.aims = uses(self.train.losses, FEATURE_TERMS) or self.train.statistics == "running"
        # Pixels between places of windows: whole patches of the field, and whole features of the low resolution.
        self.grid = autoencoder.factor * max(*params.scales, self.train.field.patch)

    def draw(self, samples: Sequence[int]) -> Draws:
        """The random numbers of the samples with these numbers: each depends on its own number alone."""
        device = self.autoencoder.device
        sources = [generator(self.params.seed, "train", sample, device) for sample in samples]
        t = torch.cat([torch.rand(1, generator=source, device=device) for source in sources])
        places = (self.params.latents.crop_size - self.side) // self.grid + 1
        corners = [torch.randint(places, (2,), generator=source, device=device).tolist() for source in sources]
        eps = None
        if uses(self.train.losses, RANDOM_TIME_TERMS):
            eps = torch.stack([torch.randn(self.shape, generator=source, device=device) for source in sources])
        return Draws(t, eps, tuple((self.grid * y, self.grid * x) for y, x in corners))

    def features(self, batch: LatentBatch) -> FeaturePair:
        """f_B and f_H of whole crops, float32, not normalised."""
        with torch.no_grad(), self._autocast():
            pair = feature_pair(self.autoencoder, batch.z_H, batch.z_L, self.cut)
        f_B, f_H = (f.float().contiguous(memory_format=self.layout) for f in (pair.f_B, pair.f_H))
        return FeaturePair(f_B, f_H)

    def _start(self, batch: LatentBatch) -> Tensor:
        """f_B alone, likewise."""
        size = self.autoencoder.feature_shape(self.cut, *batch.x_H_rec.shape[-2:])[1:]
        with torch.no_grad(), self._autocast():
            f_B = enlarged_feature(self.autoencoder, batch.z_L, self.cut, size)
        return f_B.float().contiguous(memory_format=self.layout)

    def terms(
        self, batch: LatentBatch, draws: Draws, step: int, teacher: VectorField | None = None, first: bool = False
    ) -> dict[str, Tensor]:
        """Every term of the objective that has a weight.

        Args:
            step: optimiser steps made so far; decides whether pixel terms are due.
            teacher: the averaged field, where the consistency term is on.
            first: whether this batch initialises running statistics.
        """
        pair = self.features(batch) if self.aims else FeaturePair(self._start(batch), None)
        pair, raw, weights = self._windows(pair, draws), self.raw_field, self.train.losses
        if self.train.statistics == "running":
            known = None if first else FeatureStatistics(raw.feature_mean, raw.feature_std)
            raw.set_statistics(running_statistics(known, pair, self.average))
        f_B, f_H = (None if f is None else raw.normalise(f) for f in (pair.f_B, pair.f_H))
        sample = None
        if draws.eps is not None:
            sample = sample_path(f_B, f_H, draws.t, draws.eps, self.train.sigma_max)
        v_t, v_0, gate = self._velocities(f_B, sample, batch.scale)
        f_hat = f_B + v_0
        terms = {} if sample is None else self._random_time_terms(sample, v_t, f_H)
        if weights.one_step:
            terms["one_step"] = objective.one_step_term(f_hat, f_H)
        if weights.drift:
            terms["drift"] = objective.drift_term(raw.denormalise(f_hat), raw.denormalise(f_B))
        terms |= {name: value for name, value in objective.gate_terms(gate).items() if getattr(weights, name)}
        if teacher is not None:
            terms["consistency"] = objective.consistency_term(f_hat, self._end(teacher, f_B, batch.scale))
        turn = step // len(self.params.scales)  # every scale has its turn at pixel terms
        if uses(weights, PIXEL_TERMS) and turn % self.train.pixel_loss_every == 0:
            found = objective.pixel_terms(self._images(raw.denormalise(f_hat), batch, draws))
            terms |= {name: value for name, value in found.items() if getattr(weights, name)}
        return terms

    def total(self, terms: dict[str, Tensor]) -> Tensor:
        """The weighted sum of the terms."""
        weights = self.train.losses.model_dump() | {"consistency": self.train.consistency.weight}
        return objective.weighted_sum(terms, weights)

    def _velocities(
        self, f_B: Tensor, sample: PathSample | None, scale: int
    ) -> tuple[Tensor | None, Tensor, Tensor | None]:
        """v at (f_t, t) where there is a sample, v at (f_B, 0), and the gate of both; one pass of the field."""
        zero = torch.zeros(len(f_B), device=f_B.device)
        with self._autocast():
            if sample is None:
                output = self.field(f_B, zero, f_B, scale)
            else:
                output = self.field(torch.cat([sample.f_t, f_B]), torch.cat([sample.t, zero]), f_B, scale)
        v, gate = output.velocity.float(), None if output.gate is None else output.gate.float()
        return (None, v, gate) if sample is None else (*v.chunk(2), gate)

    def _random_time_terms(self, sample: PathSample, v_t: Tensor, f_H: Tensor) -> dict[str, Tensor]:
        end, field, weights = objective.endpoint(sample, v_t), self.raw_field, self.train.losses
        terms = {}
        if weights.flow:
            terms["flow"] = objective.flow_term(sample, v_t)
        if weights.endpoint:
            terms["endpoint"] = objective.endpoint_term(end, f_H)
        if weights.fft:
            terms["fft"] = objective.fft_term(field.denormalise(end), field.denormalise(f_H))
        return terms

    @torch.no_grad()
    def _end(self, teacher: VectorField, f_B: Tensor, scale: int) -> Tensor:
        """Where several Euler steps of the teacher from f_B end."""
        with self._autocast():
            return euler(teacher.velocity_from(f_B, scale), f_B, TEACHER_STEPS)

    def _images(self, features: Tensor, batch: LatentBatch, draws: Draws) -> objective.Images:
        """What the pixel terms compare; of a window, without the border where the tail's padding speaks."""

        def tail(f: Tensor) -> Tensor:
            with self._autocast():
                return self.autoencoder.tail(f, self.cut)

        recompute = self.train.checkpoint_tail
        x_hat = checkpoint(tail, features, use_reentrant=False) if recompute else tail(features)
        x_base = self.resampling.enlarge(batch.x_L_rec, batch.scale)
        images = [x_hat, *(self._cropped(x, draws, 1) for x in (batch.x_H_rec, x_base))]
        border = CROP_BORDER if self.train.feature_tile else 0
        return objective.Images(*(self.autoencoder.normalise(crop_border(x, border)) for x in images))

    def _windows(self, pair: FeaturePair, draws: Draws) -> FeaturePair:
        stride = self.side // self.shape[-1]
        return FeaturePair(*(None if f is None else self._cropped(f, draws, stride) for f in (pair.f_B, pair.f_H)))

    def _cropped(self, values: Tensor, draws: Draws, stride: int) -> Tensor:
        """Each sample's window of whole-crop values, one of which stands for `stride` pixels."""
        if self.train.feature_tile is None:
            return values
        side = self.side // stride
        corners = ((top // stride, left // stride) for top, left in draws.windows)
        parts = [x[:, y : y + side, z : z + side] for x, (y, z) in zip(values, corners, strict=True)]
        return torch.stack(parts)

    def _autocast(self) -> torch.autocast:
        return autocast(self.params.runtime.device, self.dtype)


def uses(weights: Losses, names: tuple[str, ...]) -> bool:
    """Whether any of the terms has a weight."""
    return any(getattr(weights, name) for name in names)
