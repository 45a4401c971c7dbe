"""What a training step will take, found by running it on tensors that have shapes and no values."""

from copy import deepcopy
from dataclasses import dataclass

import torch
from diffusers import ModelMixin
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from fsr.autoencoders import FrozenAutoencoder
from fsr.config import Params
from fsr.flow.field import VectorField, training_layout
from fsr.latents import LatentBatch
from fsr.plan.structure import model_from_config
from fsr.plan.tracing import Tracer, follow_cuda
from fsr.precision import autocast_dtype
from fsr.train.loss import PIXEL_TERMS, RANDOM_TIME_TERMS, TEACHER_STEPS, Draws, StepLoss, uses
from fsr.train.validation import Validator
from fsr.upscalers.base import Sample
from fsr.upscalers.fsr import Fsr


@dataclass(frozen=True)
class StepPlan:
    """What training at one cut takes. Memory is in bytes, of one process.

    Attributes:
        parameters: of the field.
        step_flops: of an optimiser step, over all its passes and processes; a mean where only some steps have pixel
            terms. What checkpointing computes twice counts twice.
        inference_flops: from a low-resolution crop to its enlargement.
        frozen, field, gradients, moments: weights of the autoencoder and of the field, the field's gradients (twice
            where processes exchange them), AdamW's two moments.
        average: the field's moving average, and the teacher made of it where there is a consistency term.
        activations: peak of everything else in a step. validation: likewise of rendering held-out crops.
    """

    cut: str
    parameters: int
    step_flops: int
    inference_flops: int
    frozen: int
    field: int
    gradients: int
    moments: int
    average: int
    activations: int
    validation: int

    @property
    def fixed(self) -> int:
        """What is held all the time."""
        return self.frozen + self.field + self.gradients + self.moments + self.average

    @property
    def total(self) -> int:
        """The predicted peak of training."""
        return self.fixed + max(self.activations, self.validation)


def plan_step(params: Params, cut: str, model: ModelMixin | None = None) -> StepPlan:
    """Memory and FLOPs of training at `cut`. Needs neither weights nor the device, and computes nothing.

    Args:
        model: the autoencoder's, of which only the structure is used; None for the one `params.vae` names.

    Raises:
        ValueError: no such cut, or an automatic precision for a device that is not here.
        FileNotFoundError: no configuration at `params.vae.path`.
    """
    simulated = _on_cpu(params)
    autoencoder = FrozenAutoencoder(_structure(model_from_config(params.vae) if model is None else model))
    field = _field(params, cut, autoencoder)
    if _is_cuda(params):
        follow_cuda(autoencoder)
        follow_cuda(field)
    with FakeTensorMode(allow_non_fake_inputs=True):
        autoencoder.to_empty(device="cpu")
        field.to_empty(device="cpu")
        return _Simulation(simulated, cut, autoencoder, field).plan()


def _is_cuda(params: Params) -> bool:
    return torch.device(params.runtime.device).type == "cuda"


def _on_cpu(params: Params) -> Params:
    """The same step on the CPU, in the precision it has on its own device."""
    runtime = params.runtime
    if _is_cuda(params) and runtime.dtype == "auto" and not torch.cuda.is_available():
        raise ValueError(
            f"runtime.dtype auto asks the device {runtime.device}, which is not here; plan with "
            "--set runtime.dtype=bfloat16, or float32"
        )
    resolved = runtime.model_copy(update={"device": "cpu", "dtype": autocast_dtype(runtime)})
    return params.model_copy(update={"runtime": resolved})


def _structure(model: ModelMixin) -> ModelMixin:
    """The model on the meta device, in the memory format it is used in."""
    return nn.Module.to(deepcopy(model), "meta", memory_format=torch.channels_last)


def _field(params: Params, cut: str, autoencoder: FrozenAutoencoder) -> VectorField:
    """Likewise the field."""
    size = params.latents.crop_size
    channels, _, _ = autoencoder.feature_shape(cut, size, size)
    with torch.device("meta"):
        field = VectorField(channels, cut, params.scales, "", **params.train.field.model_dump())
    field.checkpoint_blocks = params.train.checkpoint_field
    return field.to(memory_format=training_layout(params.runtime.device, autocast_dtype(params.runtime)))


class _Simulation:
    """Passes, validation and inference of one process, on tensors without values."""

    def __init__(self, params: Params, cut: str, autoencoder: FrozenAutoencoder, field: VectorField) -> None:
        self.params, self.train, self.cut = params, params.train, cut
        self.autoencoder, self.field = autoencoder, field
        self.loss = StepLoss(params, cut, autoencoder, field, field)
        self.validator = Validator(params, cut, autoencoder, cache=None, accelerator=None)
        self.own = self.train.batch // self.train.processes  # crops of this process in a pass
        for parameter in field.parameters():  # as from the second pass on
            parameter.grad = torch.empty_like(parameter)

    def plan(self) -> StepPlan:
        weights, train = _bytes(self.field), self.train
        peaks, flops = zip(*(self._pass(scale) for scale in self.params.scales), strict=True)
        return StepPlan(
            cut=self.cut,
            parameters=sum(parameter.numel() for parameter in self.field.parameters()),
            step_flops=round(sum(flops) / len(flops)) * train.accumulation * train.processes,
            inference_flops=self._inference(),
            frozen=_bytes(self.autoencoder),
            field=weights,
            gradients=weights * (2 if train.processes > 1 else 1),
            moments=2 * weights,
            average=weights * (2 if train.consistency.weight else 1),
            activations=max(peaks),
            validation=max(self._validation(scale) for scale in self.params.scales),
        )

    def _pass(self, scale: int) -> tuple[int, float]:
        """Peak of a pass with every term, forward and backward, and FLOPs, in the mean over passes."""
        every = self.train.pixel_loss_every if uses(self.train.losses, PIXEL_TERMS) else 1
        full = self._backward(scale, 0)
        bare = full if every == 1 else self._backward(scale, 1)
        return full.peak, (full.flops + (every - 1) * bare.flops) / every

    def _backward(self, scale: int, step: int) -> Tracer:
        self.field.train()
        teacher = self.field if self.train.consistency.weight else None
        with Tracer() as tracer:
            batch, draws = self._batch(self.own, scale), self._draws()
            self.loss.total(self.loss.terms(batch, draws, step, teacher)).backward()
        return tracer

    def _draws(self) -> Draws:
        eps = torch.empty(self.own, *self.loss.shape) if uses(self.train.losses, RANDOM_TIME_TERMS) else None
        return Draws(torch.empty(self.own), eps, ((0, 0),) * self.own)

    def _validation(self, scale: int) -> int:
        with Tracer() as tracer:
            self.validator.render(self.field.eval(), self._batch(self.train.batch, scale), (1, TEACHER_STEPS))
        return tracer.peak

    @torch.no_grad()
    def _inference(self) -> int:
        scale = self.params.scales[0]
        x_L = torch.empty(1, 3, *[self.params.latents.crop_size // scale] * 2)
        with Tracer() as tracer:
            Fsr(self.field.eval())(Sample(self.autoencoder, x_L, scale))
        return tracer.flops

    def _batch(self, count: int, scale: int) -> LatentBatch:
        side, factor = self.params.latents.crop_size, self.autoencoder.factor
        low, channels = side // scale, self.autoencoder.latent_channels
        return LatentBatch(
            z_H=torch.empty(count, channels, side // factor, side // factor),
            z_L=torch.empty(count, channels, low // factor, low // factor),
            crop=torch.empty(count, 3, side, side, dtype=torch.uint8),
            x_H_rec=torch.empty(count, 3, side, side),
            x_L_rec=torch.empty(count, 3, low, low),
            scale=scale,
        )


def _bytes(module: nn.Module) -> int:
    return sum(value.nbytes for value in (*module.parameters(), *module.buffers()))
