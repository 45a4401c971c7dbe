"""Training checkpoints without pickle: one safetensors file, written atomically, that resumes a run to the bit.

Training here draws everything random from generators seeded by (seed, sample) (`fsr.randomness`), so the state of a run
is its tensors and its progress alone: there is no random-number state to save.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers.training_utils import EMAModel
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from fsr.files import explained, write_atomically

PATIENCE = 10.0  # seconds in which a run that is ending can let go of its folder


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
    numbers: dict[str, Any] = {}
    tensors = _weights(model, ema)
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
    save_tensors(path, tensors, metadata)


def save_tensors(path: Path | str, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file, atomically, and through to the disk before the file that stood there goes.

    Raises:
        OSError: disk full or folder not writable; what stood there is intact.
    """
    content = save({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, metadata)
    write_atomically(path, lambda temporary: _write_through(temporary, content))


def load_checkpoint(
    path: Path | str, *, model: nn.Module, ema: EMAModel, optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """Restore what `save_checkpoint` wrote, in place, and return its `progress`.

    Raises:
        ValueError: the file is damaged, or not a checkpoint of this model; delete it to start afresh.
    """
    tensors, metadata = _read(path)
    expected = {name: value.shape for name, value in _weights(model, ema).items()}
    found = {name: value.shape for name, value in tensors.items() if not name.startswith("optimizer.")}
    if found != expected:
        raise ValueError(f"{path} belongs to another model; delete it to start this run afresh")
    states: dict[int, dict[str, Any]] = {}
    numbers = {f"optimizer.{name}": value for name, value in json.loads(metadata["optimizer"]).items()}
    for name, value in (tensors | numbers).items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            states.setdefault(int(index), {})[key] = value
    model.load_state_dict({name: tensors[f"model.{name}"] for name in model.state_dict()})
    for index, average in enumerate(ema.shadow_params):
        average.copy_(tensors[f"ema.{index}"])
    ema.optimization_step = int(metadata["ema_steps"])
    optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
    return json.loads(metadata["progress"])


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Inside the block this process alone trains in `folder`; what killed writes left there is gone.

    The claim is a lock of the operating system's: it ends with the process, however that ends.

    Raises:
        OSError: another process trains there, or the folder cannot be written.
    """
    lock = FileLock(folder / "lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=PATIENCE)
    except Timeout:
        busy = f"another process trains in {folder}; wait until it is done, or end it"
        raise BlockingIOError(busy) from None
    except OSError as error:
        raise explained(error, folder) from error
    try:
        remove_leftovers(folder)
        yield
    finally:
        lock.release()


def remove_leftovers(folder: Path, stem: str = "*") -> None:
    """Delete the temporary files that killed writes of `folder`/`stem`.* left behind."""
    for leftover in folder.glob(f".{stem}-????????.*"):
        leftover.unlink(missing_ok=True)


def _weights(model: nn.Module, ema: EMAModel) -> dict[str, Tensor]:
    """Weights and their averages, under the names they have in a checkpoint."""
    weights = {f"model.{name}": value for name, value in model.state_dict().items()}
    return weights | {f"ema.{index}": value for index, value in enumerate(ema.shadow_params)}


def _write_through(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path | str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors of a checkpoint, and its metadata."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged ({error}); delete it to start this run afresh") from error
    missing = sorted({"progress", "optimizer", "ema_steps"} - set(metadata))
    if missing:
        raise ValueError(f"{path} is no checkpoint: it has no {', '.join(missing)}; delete it to start this run afresh")
    return tensors, metadata
