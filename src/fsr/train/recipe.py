"""What a run trains and how: everything the loop leaves open."""

from collections.abc import Mapping, Sequence, Set
from typing import Any, Protocol

from accelerate import Accelerator
from diffusers import ModelMixin
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from fsr.latents import LatentBatch, LatentCache


class Recipe(Protocol):
    """A model, its loss, and its validation.

    Attributes:
        name: what progress bars and trackers call the run.
        definition: what tells the run from others with the same parameters; goes into its key as JSON.
        unread: keys of `train` that do not matter to it.
        model: what is trained.
        partial: whether a pass may leave some of the model's parameters without a gradient.
    """

    name: str
    definition: Any
    unread: Set[str]
    model: ModelMixin
    partial: bool

    def attach(self, trained: nn.Module, ema: EMAModel, held_out: LatentCache, accelerator: Accelerator) -> None:
        """Take what the run works with: the model as it is trained, which may be wrapped for several processes, its
        moving average, and the held-out crops. The model is on its device by then."""

    def begin(self, cache: LatentCache) -> None:
        """Set what an untrained model takes from the training crops."""

    def terms(self, batch: LatentBatch, samples: Sequence[int], step: int, first: bool) -> dict[str, Tensor]:
        """The loss's terms on a pass; random numbers depend on the number of a sample alone.

        Args:
            step: optimiser steps made so far.
            first: whether no pass has been made that counted.
        """

    def total(self, terms: Mapping[str, Tensor], step: int) -> Tensor:
        """The weighted sum of the terms."""

    def validate(self, model: ModelMixin) -> dict[str, float]:
        """Columns of the log: how the averaged model does on held-out crops; validation_psnr is among them."""

    def grid(self, model: ModelMixin) -> Tensor:
        """Held-out crops as the model renders them, (3, H, W) in [0, 1]."""

    def state(self) -> dict[str, Any]:
        """What a resumed run needs to know, as JSON."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` gave."""
