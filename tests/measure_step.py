"""Peak memory of real training steps, each in a process of its own: JSON cases on stdin, a number of bytes a line.

A case has `params`, `cut`, the autoencoder's `config` with its _class_name, and `what` to measure: step or validation.
Needs Linux. The parent computes nothing, so that what a child inherits by fork holds no buffers of earlier work.
"""

import gc
import json
import os
import sys
from pathlib import Path

import torch
from diffusers import ModelMixin
from diffusers.training_utils import EMAModel

from fsr.autoencoders import FrozenAutoencoder
from fsr.autoencoders.families import FAMILIES
from fsr.config import Params
from fsr.flow.field import VectorField, build_field, training_layout
from fsr.latents import LatentBatch
from fsr.precision import autocast_dtype
from fsr.train.loss import TEACHER_STEPS, StepLoss
from fsr.train.validation import Validator


def status(key: str) -> int:
    """Bytes of a line of /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


def measure(case: dict) -> int:
    """Growth of the resident memory, from before there are models to its peak."""
    torch.set_num_threads(1)
    run(case | {"cut": "f3", "params": small(case["params"])})  # libraries load, and keep what they keep
    gc.collect()
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    run(case)
    return status("VmHWM") - before


def small(params: dict) -> dict:
    """The same step on the smallest crop."""
    train = params["train"] | {"batch": 1, "feature_tile": None}
    return params | {"latents": params["latents"] | {"crop_size": 64}, "train": train}


def run(case: dict) -> None:
    """Models, optimiser, moving average, and what there is to measure."""
    params, cut = Params.model_validate(case["params"]), case["cut"]
    autoencoder = FrozenAutoencoder(model_of(case["config"]))
    layout = training_layout("cpu", autocast_dtype(params.runtime))
    field = build_field(params, cut, autoencoder).to(memory_format=layout)
    field.checkpoint_blocks = params.train.checkpoint_field
    average = EMAModel(field.parameters())
    optimizer = torch.optim.AdamW(field.parameters())
    for parameter in field.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    {"step": step, "validation": validation}[case["what"]](params, cut, autoencoder, field)
    average.step(field.parameters())


def step(params: Params, cut: str, autoencoder: FrozenAutoencoder, field: VectorField) -> None:
    """A pass, forward and backward."""
    loss = StepLoss(params, cut, autoencoder, field.train(), field)
    draws = loss.draw(range(params.train.batch))
    loss.total(loss.terms(batch_of(params, autoencoder), draws, 0)).backward()


def validation(params: Params, cut: str, autoencoder: FrozenAutoencoder, field: VectorField) -> None:
    """What validation renders at once."""
    validator = Validator(params, cut, autoencoder, cache=None, accelerator=None)
    validator.render(field.eval(), batch_of(params, autoencoder), (1, TEACHER_STEPS))


def model_of(config: dict) -> ModelMixin:
    family = next(item.model for item in FAMILIES.values() if item.model.__name__ == config["_class_name"])
    return torch.nn.Module.to(family.from_config(config), memory_format=torch.channels_last)


def batch_of(params: Params, autoencoder: FrozenAutoencoder) -> LatentBatch:
    count, side, scale = params.train.batch, params.latents.crop_size, params.scales[-1]
    grid, channels = side // 8, autoencoder.latent_channels
    return LatentBatch(
        z_H=torch.rand(count, channels, grid, grid),
        z_L=torch.rand(count, channels, grid // scale, grid // scale),
        crop=torch.zeros(count, 3, side, side, dtype=torch.uint8),
        x_H_rec=torch.rand(count, 3, side, side),
        x_L_rec=torch.rand(count, 3, side // scale, side // scale),
        scale=scale,
    )


def in_child(case: dict) -> int:
    """`measure` in a fork of this process."""
    reading, writing = os.pipe()
    if not os.fork():
        os.write(writing, str(measure(case)).encode())
        os._exit(0)
    os.close(writing)
    os.wait()
    with os.fdopen(reading) as answer:
        return int(answer.read())


if __name__ == "__main__":
    for line in sys.stdin:
        print(in_child(json.loads(line)), flush=True)
