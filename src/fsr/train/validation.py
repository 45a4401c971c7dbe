"""Validation on held-out crops: the averaged field against feature bicubic, one step against four."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from diffusers import ModelMixin
from diffusers.training_utils import EMAModel
from torch import Tensor

from fsr.autoencoders import FrozenAutoencoder
from fsr.config import Params
from fsr.flow.field import VectorField
from fsr.flow.path import enlarged_feature
from fsr.flow.solver import euler
from fsr.images import RESAMPLINGS
from fsr.latents import CROP_BORDER, LatentBatch, LatentCache
from fsr.metrics.fidelity import crop_border, l1, psnr
from fsr.precision import autocast, autocast_dtype
from fsr.train.loss import TEACHER_STEPS

GRID_ROWS = 6


@dataclass(frozen=True)
class Validation:
    """Means over held-out crops and scales, against x_H_rec, of images in [0, 1].

    Attributes:
        psnr, rgb_l1: of one step, PSNR in dB. margin: by how many dB four steps have the higher PSNR.
        psnr_by_scale: {scale: PSNR of one step}.
    """

    psnr: float
    rgb_l1: float
    margin: float
    psnr_by_scale: dict[int, float]

    def row(self) -> dict[str, float]:
        """Columns of the log."""
        columns = {
            "validation_psnr": self.psnr,
            "validation_rgb_l1": self.rgb_l1,
            "validation_margin": self.margin,
        }
        if len(self.psnr_by_scale) > 1:
            columns |= {f"validation_psnr_x{scale}": value for scale, value in self.psnr_by_scale.items()}
        return columns


@contextmanager
def averaged(model: ModelMixin, ema: EMAModel) -> Iterator[ModelMixin]:
    """Inside the block the model holds its averaged weights, in eval mode."""
    training = model.training
    ema.store(model.parameters())
    ema.copy_to(model.parameters())
    try:
        yield model.eval()
    finally:
        ema.restore(model.parameters())
        model.train(training)


class Validator:
    """Renders held-out crops with a field at one cut."""

    def __init__(
        self, params: Params, cut: str, autoencoder: FrozenAutoencoder, cache: LatentCache, accelerator: Accelerator
    ) -> None:
        self.params, self.cut, self.autoencoder, self.cache = params, cut, autoencoder, cache
        self.accelerator = accelerator
        self.dtype = autocast_dtype(params.runtime)

    @torch.no_grad()
    def measure(self, field: VectorField) -> Validation:
        """Every held-out crop at every scale, shared out among processes."""
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        scales = self.params.scales
        sums = torch.zeros(len(scales), 4, dtype=torch.float64, device=self.autoencoder.device)
        for row, scale in zip(sums, scales, strict=True):
            for index, batch in enumerate(self.cache.batches(self.params.train.batch // processes, scale)):
                if index % processes == rank:
                    row += self._measure(field, batch.to(self.autoencoder.device))
        sums = self.accelerator.reduce(sums, "sum")
        by_scale = (sums[:, :3] / sums[:, 3:]).tolist()
        one, error, four = (sum(values) / len(scales) for values in zip(*by_scale, strict=True))
        psnr_by_scale = {scale: values[0] for scale, values in zip(scales, by_scale, strict=True)}
        return Validation(one, error, four - one, psnr_by_scale)

    def _measure(self, field: VectorField, batch: LatentBatch) -> Tensor:
        """Sums over a batch of the PSNR of one step, its RGB L1, the PSNR of four steps, and the count."""
        _, one, four = self.render(field, batch, (1, TEACHER_STEPS))
        target, one, four = (crop_border(x, CROP_BORDER) for x in (batch.x_H_rec.clamp(0, 1), one, four))
        crops = range(len(target))
        sums = [sum(psnr(x[i : i + 1], target[i : i + 1]) for i in crops) for x in (one, four)]
        error = sum(l1(one[i : i + 1], target[i : i + 1]) for i in crops)
        return torch.tensor([sums[0], error, sums[1], len(target)], dtype=torch.float64, device=target.device)

    @torch.no_grad()
    def render(self, field: VectorField, batch: LatentBatch, steps: tuple[int, ...] = (1,)) -> list[Tensor]:
        """Feature bicubic, then the images after each number of Euler steps, in [0, 1]."""
        size = self.autoencoder.feature_shape(self.cut, *batch.x_H_rec.shape[-2:])[1:]
        with autocast(self.params.runtime.device, self.dtype):
            features = enlarged_feature(self.autoencoder, batch.z_L, self.cut, size).float()
            f_B = field.normalise(features)
            velocity = field.velocity_from(f_B, batch.scale)
            moved = [field.moved(features, f_B, euler(velocity, f_B, count)) for count in steps]
            return [self.autoencoder.tail(f, self.cut).clamp(0, 1) for f in (features, *moved)]

    def grid(self, field: VectorField) -> Tensor:
        """Held-out crops at the first scale, a row each: enlarged LR decode, feature bicubic, one-step, target."""
        resampling, lines = RESAMPLINGS[self.params.latents.protocol], []
        for batch in self.cache.batches(1, self.params.scales[0], GRID_ROWS):
            batch = batch.to(self.autoencoder.device)
            bicubic, x_hat = self.render(field, batch)
            columns = (resampling.enlarge(batch.x_L_rec, batch.scale), bicubic, x_hat, batch.x_H_rec)
            lines.append(torch.cat([column[0] for column in columns], dim=2).cpu())
        return torch.cat(lines, dim=1).clamp(0, 1)
