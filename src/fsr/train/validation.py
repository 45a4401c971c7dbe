"""Validation on held-out crops: the averaged field against feature bicubic, one step against four."""

from collections.abc import Callable, Iterator, Mapping
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
        margin = {"validation_margin": self.margin}
        return columns(self.psnr, self.rgb_l1) | margin | columns_by_scale(self.psnr_by_scale)


def columns(psnr: float, rgb_l1: float) -> dict[str, float]:
    """What the log calls the errors every recipe is validated by."""
    return {"validation_psnr": psnr, "validation_rgb_l1": rgb_l1}


def columns_by_scale(psnr: Mapping[int, float]) -> dict[str, float]:
    """What it calls the PSNR at each scale, where there are several."""
    return {f"validation_psnr_x{scale}": value for scale, value in psnr.items()} if len(psnr) > 1 else {}


def summed_errors(images: Tensor, targets: Tensor) -> tuple[float, float]:
    """Sums over a batch of PSNR in dB and RGB L1 of images in [0, 1], away from the crops' borders."""
    images, targets = (crop_border(x.clamp(0, 1), CROP_BORDER) for x in (images, targets))
    pairs = list(zip(images.split(1), targets.split(1), strict=True))
    return sum(psnr(*pair) for pair in pairs), sum(l1(*pair) for pair in pairs)


def over_crops(
    params: Params,
    held_out: LatentCache,
    accelerator: Accelerator,
    device: torch.device,
    width: int,
    measure: Callable[[LatentBatch], tuple[float, ...]],
) -> list[list[float]]:
    """Means over the held-out crops, a list per scale, of the sums `measure` takes; processes share the crops out.

    Args:
        width: how many numbers there are.
        measure: sums over a batch, on `device`, of each number, and last the count of its crops.
    """
    rank, processes = accelerator.process_index, accelerator.num_processes
    totals = torch.zeros(len(params.scales), width + 1, dtype=torch.float64, device=device)
    for row, scale in zip(totals, params.scales, strict=True):
        for index, batch in enumerate(held_out.batches(params.train.batch // processes, scale)):
            if index % processes == rank:
                row += row.new_tensor(measure(batch.to(device)))
    totals = accelerator.reduce(totals, "sum")
    return (totals[:, :-1] / totals[:, -1:]).tolist()


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
        scales = self.params.scales
        device = self.autoencoder.device
        means = over_crops(
            self.params, self.cache, self.accelerator, device, 3, lambda batch: self._measure(field, batch)
        )
        one, error, four = (sum(values) / len(scales) for values in zip(*means, strict=True))
        psnr_by_scale = {scale: values[0] for scale, values in zip(scales, means, strict=True)}
        return Validation(one, error, four - one, psnr_by_scale)

    def _measure(self, field: VectorField, batch: LatentBatch) -> tuple[float, ...]:
        """Sums over a batch of the PSNR of one step, its RGB L1, the PSNR of four steps, and the count."""
        _, one, four = self.render(field, batch, (1, TEACHER_STEPS))
        psnr_of_one, error = summed_errors(one, batch.x_H_rec)
        psnr_of_four, _ = summed_errors(four, batch.x_H_rec)
        return psnr_of_one, error, psnr_of_four, len(one)

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
