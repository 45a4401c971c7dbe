"""Weights & Biases beside the local log, which is the truth: where wandb fails, training goes on without it."""

import importlib
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from fsr.config import Params, Tracking

logger = logging.getLogger(__name__)

KEY = "WANDB_API_KEY"


class Tracker:
    """Takes rows of the log, and leaves it at that."""

    def log(self, row: Mapping[str, float]) -> None:
        """Send one row, which has a `step`."""

    def close(self, failed: bool) -> None:
        """The run is over, or has failed."""


class WandbTracker(Tracker):
    """Sends rows to a run of wandb's; once wandb fails, it says so and drops the rest."""

    def __init__(self, wandb: ModuleType, run: Any) -> None:
        self.wandb, self.run, self.failures = wandb, run, (wandb.Error, OSError)

    def log(self, row: Mapping[str, float]) -> None:
        """Send one row, which has a `step`."""
        if self.run is None:
            return
        try:
            self.run.log(dict(row), step=int(row["step"]))
        except self.failures as error:
            self.run = None
            _warn(error)

    def close(self, failed: bool) -> None:
        """Hand over what is left, and end the process that wandb keeps."""
        try:
            if self.run is not None:
                self.run.finish(exit_code=int(failed))
            self.wandb.teardown(exit_code=int(failed))
        except self.failures as error:
            _warn(error)


def check_tracking(tracking: Tracking) -> None:
    """Pass if a run can be tracked as asked.

    Raises:
        ValueError: online, and no key in the environment.
    """
    if tracking.mode == "online" and not os.environ.get(KEY):
        raise ValueError(f"tracking.mode online needs {KEY} in the environment; set it, or take tracking.mode offline")


@contextmanager
def open_tracker(params: Params, name: str, key: str, folder: Path, is_main: bool) -> Iterator[Tracker]:
    """A tracker for the run `key` called `name`, whose files go below `folder`/wandb; a resumed run keeps its id.

    Raises:
        ValueError: online, and no key in the environment or one that wandb refuses.
    """
    check_tracking(params.tracking)
    tracker = _start(params, name, key, folder) if is_main and params.tracking.mode != "disabled" else Tracker()
    failed = True
    try:
        yield tracker
        failed = False
    finally:
        tracker.close(failed)


def _start(params: Params, name: str, key: str, folder: Path) -> Tracker:
    """A run of wandb's; a tracker that drops everything where wandb has none to give."""
    wandb = importlib.import_module("wandb")  # takes seconds, which only those who track should wait
    quiet = {"silent": True, "console": "off", "disable_git": True, "disable_code": True}
    online = params.tracking.mode == "online"
    try:
        run = wandb.init(
            mode=params.tracking.mode,
            project=params.tracking.project,
            name=f"{params.experiment}-{name}",
            id=key[:16],
            resume="allow" if online else None,  # offline it would only warn that it has nobody to ask
            dir=folder,
            config={**params.model_dump(mode="json", by_alias=True), "run": name, "key": key},
            settings=wandb.Settings(**quiet),
        )
    except (wandb.errors.AuthenticationError, wandb.errors.UsageError) as error:
        raise ValueError(f"wandb refuses this run ({error}); correct {KEY}, or set tracking.mode to offline") from error
    except (wandb.Error, OSError) as error:
        _warn(error)
        return Tracker()
    return WandbTracker(wandb, run)


def _warn(error: Exception) -> None:
    logger.warning("wandb failed (%s); training goes on without it, and its own log is complete", error)
