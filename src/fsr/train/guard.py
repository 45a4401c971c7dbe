"""Steps whose loss or gradient is not finite are skipped and counted; too many in a row end the run."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from accelerate import Accelerator

from fsr.checkpoint import save_tensors
from fsr.latents import LatentBatch
from fsr.train.data import Pass

SAVED = ("z_H", "z_L", "crop", "x_H_rec", "x_L_rec")


class Guard:
    """Counts skipped steps: all of them (`total`), and those in a row (`in_a_row`).

    Args:
        limit: how many in a row end the run.
        folder: where the crops of the last step are then left.
    """

    def __init__(self, limit: int, folder: Path, accelerator: Accelerator) -> None:
        self.limit, self.folder, self.accelerator = limit, folder, accelerator
        self.total, self.in_a_row = 0, 0

    def passed(self) -> None:
        """A step was finite."""
        self.in_a_row = 0

    def skipped(self, step: int, passes: Iterable[tuple[Pass, LatentBatch]]) -> None:
        """Count a step that was not; `passes`, which are its own in all processes, are read only to be saved.

        Raises:
            FloatingPointError: it was the `limit`-th in a row; the passes are saved, the message says where.
        """
        self.total += 1
        self.in_a_row += 1
        if self.in_a_row < self.limit:
            return
        path = self.folder / f"nonfinite-{step:06d}.safetensors"
        if self.accelerator.is_main_process:
            save_passes(path, passes)
        self.accelerator.wait_for_everyone()
        raise FloatingPointError(
            f"loss or gradient was not finite in {self.in_a_row} steps in a row, the last of them step {step}; its "
            f"crops are in {path}; lower train.lr or set runtime.dtype to float32"
        )


def save_passes(path: Path, passes: Iterable[tuple[Pass, LatentBatch]]) -> None:
    """Write passes for inspection: tensors "0.z_H", "0.z_L", ... of the first; metadata "passes" lists what they show.

    Raises:
        OSError: the folder cannot be written.
    """
    passes = list(passes)
    tensors = {f"{i}.{name}": getattr(batch, name) for i, (_, batch) in enumerate(passes) for name in SAVED}
    save_tensors(path, tensors, {"passes": json.dumps([asdict(which) for which, _ in passes])})
