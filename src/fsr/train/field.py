"""The recipe of FSR's vector field at one cut."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from fsr.autoencoders import FrozenAutoencoder
from fsr.config import Params
from fsr.flow.field import VectorField, build_field
from fsr.flow.stats import cache_statistics
from fsr.latents import LatentBatch, LatentCache
from fsr.train.loss import StepLoss
from fsr.train.trainer import Trainer
from fsr.train.validation import Validator


class FieldRecipe:
    """Trains the field of `train.field`'s size by the objective (fsr.train.loss).

    Where there is a consistency term, its teacher is the averaged field while four of its steps lead one by the margin.
    """

    partial, unread = False, frozenset()

    def __init__(self, params: Params, cut: str, autoencoder: FrozenAutoencoder) -> None:
        self.params, self.train, self.name, self.definition, self.cut = params, params.train, cut, cut, cut
        self.autoencoder = autoencoder
        self.model = build_field(params, cut, autoencoder)
        self.model.checkpoint_blocks = self.train.checkpoint_field
        self.teacher, self.teaching = None, False

    @property
    def distils(self) -> bool:
        return self.train.consistency.weight > 0

    def attach(self, trained: nn.Module, ema: EMAModel, held_out: LatentCache, accelerator: Accelerator) -> None:
        """Build the loss and the validation on the model's device."""
        device = self.model.device
        self.autoencoder.to(device)
        if self.distils:
            self.teacher = build_field(self.params, self.cut, self.autoencoder).to(device).eval()
        self.ema = ema
        self.loss = StepLoss(
            self.params,
            self.cut,
            self.autoencoder,
            trained,
            self.model,
            lambda values: accelerator.reduce(values, "mean"),
        )
        self.validator = Validator(self.params, self.cut, self.autoencoder, held_out, accelerator)

    def begin(self, cache: LatentCache) -> None:
        """Statistics of the cache's features at every scale, unless they are to run along."""
        if self.train.statistics != "cache":
            return
        size, limit = self.train.batch, self.train.statistics_crops
        batches = (batch for scale in self.params.scales for batch in cache.batches(size, scale, limit))
        pairs = (self.loss.features(batch.to(self.model.device)) for batch in batches)
        self.model.set_statistics(cache_statistics(pairs))

    def terms(self, batch: LatentBatch, samples: Sequence[int], step: int, first: bool) -> dict[str, Tensor]:
        return self.loss.terms(batch, self.loss.draw(samples), step, self._teacher(), first)

    def total(self, terms: Mapping[str, Tensor], step: int) -> Tensor:
        return self.loss.total(terms)

    def _teacher(self) -> VectorField | None:
        """The averaged field, while four of its steps lead one by the margin."""
        if not self.teaching:
            return None
        self.ema.copy_to(self.teacher.parameters())
        statistics = self.model.state_dict()
        self.teacher.load_state_dict({name: statistics[name] for name in ("feature_mean", "feature_std")}, strict=False)
        return self.teacher

    def validate(self, model: VectorField) -> dict[str, float]:
        """One step and four on held-out crops; decides whether four teach one until the next time."""
        found = self.validator.measure(model)
        self.teaching = self.distils and found.margin > self.train.consistency.margin
        return found.row()

    def grid(self, model: VectorField) -> Tensor:
        return self.validator.grid(model)

    def state(self) -> dict[str, Any]:
        return {"teaching": self.teaching}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.teaching = state["teaching"]


def field_trainer(params: Params, cut: str, manifest: Path, autoencoder: FrozenAutoencoder, work: Path) -> Trainer:
    """The run of a field at `cut`.

    Raises:
        ValueError: the decoder has no such cut, or a checkpoint of another model in the work folder.
    """
    return Trainer(params, FieldRecipe(params, cut, autoencoder), manifest, work)
