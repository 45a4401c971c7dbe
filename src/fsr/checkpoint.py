"""Training checkpoints without pickle: one safetensors file, written atomically, that resumes a run to the bit.

Training here draws everything random from generators seeded by (seed, step) (`fsr.randomness`), so the state of a run
is its tensors and its step alone: there is no random-number state to save.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers.training_utils import EMAModel
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from fsr.files import write_atomically


def save_checkpoint(
    path: Path | str,
    *,
    model: nn.Module,
    ema: EMAModel,
    optimizer: torch.optim.Optimizer,
    progress: Mapping[str, Any],
) -> None:
    """Write weights, their moving average, the optimiser's state and `progress` (JSON) to one file, atomically.

    Raises:
        OSError: disk full or folder not writable; the previous checkpoint is intact.
    """
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"ema.{index}": value for index, value in enumerate(ema.shadow_params)}
    numbers: dict[str, Any] = {}
    for index, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{key}"] = value
            else:
                numbers[f"{index}.{key}"] = value
    metadata = {
        "progress": json.dumps(dict(progress)),
        "optimizer": json.dumps(numbers),
        "ema_steps": str(ema.optimization_step),
    }
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    write_atomically(path, lambda temporary: save_file(tensors, temporary, metadata))


def load_checkpoint(
    path: Path | str, *, model: nn.Module, ema: EMAModel, optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """Restore what `save_checkpoint` wrote, in place, and return its `progress`.

    Raises:
        ValueError: the file is not a checkpoint of this model; delete it to start afresh.
    """
    model_state: dict[str, Tensor] = {}
    averages: dict[int, Tensor] = {}
    states: dict[int, dict[str, Any]] = {}
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        for name in file.keys():  # noqa: SIM118 - safe_open is not a mapping
            kind, rest = name.split(".", 1)
            if kind == "optimizer":
                index, key = rest.split(".", 1)
                states.setdefault(int(index), {})[key] = file.get_tensor(name)
            elif kind == "ema":
                averages[int(rest)] = file.get_tensor(name)
            else:
                model_state[rest] = file.get_tensor(name)
    for name, value in json.loads(metadata["optimizer"]).items():
        index, key = name.split(".", 1)
        states.setdefault(int(index), {})[key] = value
    try:
        model.load_state_dict(model_state)
    except RuntimeError as error:
        raise ValueError(f"{path} belongs to another model; delete it to start this run afresh") from error
    for index, average in enumerate(ema.shadow_params):
        average.copy_(averages[index])
    ema.optimization_step = int(metadata["ema_steps"])
    optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
    return json.loads(metadata["progress"])
