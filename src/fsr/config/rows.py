"""The rows of the tables by name, apart from what makes them: planning a workflow needs their names alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Literal, get_args

from fsr.config.rivals import Budget, Lsrna, OtherField, Pixel, Rival, Rivals

if TYPE_CHECKING:
    from fsr.config import Params

FSR = "fsr"
BICUBIC_AT = {f"feature_bicubic_f{number}": f"f{number}" for number in range(1, 6)}  # whichever cut fsr was trained at
FIXED = (
    "bicubic",
    "decoded_bicubic",
    "decoded_bicubic_ensemble",
    "latent_bicubic",
    "feature_bicubic",
    "fsr",
    "fsr_ensemble",
    "fsr_euler2",
    "fsr_euler4",
    "fsr_heun4",
    "fsr_eta0.03",
    "fsr_eta0.05",
    "fsr_eta0.10",
    *BICUBIC_AT,
    "vae_roundtrip",
)
CEILING = "vae_roundtrip"
# Keys of train that only the field's own training reads: a change there trains no rival again.
FIELD_ONLY = {
    "cut",
    "trial_steps",
    "field",
    "losses",
    "consistency",
    "sigma_max",
    "statistics",
    "statistics_crops",
    "lr",
}
FIELD_ONLY |= {"pixel_loss_every", "feature_tile", "hours", "processes", "checkpoint_field"}
PICTURES = ("hr", "lr")  # shown beside the rows, so no row can have these names
After = Literal["", "ensemble", "matched", "noised"]


@dataclass(frozen=True)
class RivalRow:
    """A row of something that is trained beside fsr, or that others trained.

    Attributes:
        method: its name in `rivals.methods`, or fsr, of which there are rows with other seeds.
        budget: what its training had in common with fsr's; None where nothing is trained here.
        after: what is done beyond training: nothing; a mean over the eight views of the image (ensemble); or to its
            latent before it is decoded, matched means of channels or added noise.
        seed: the one it was trained with; None for the study's own.
    """

    method: str
    budget: Budget | None
    after: After = ""
    seed: int | None = None

    @property
    def name(self) -> str:
        return self._joined(self.after)

    @property
    def model(self) -> str:
        """The name of what is trained for it."""
        return self._joined("")

    @property
    def repeats(self) -> str:
        """The name of the same row with the study's own seed."""
        return replace(self, seed=None).name

    def _joined(self, after: str) -> str:
        budget = "" if self.method == FSR else self.budget
        return "_".join(filter(None, (self.method, budget, after, "" if self.seed is None else f"seed{self.seed}")))


def rival_rows(rivals: Rivals) -> dict[str, RivalRow]:
    """Every row of what is trained beside fsr or that others trained, by name.

    Raises:
        ValueError: two rows have one name.
    """
    rows: dict[str, RivalRow] = {}
    for method, settings in rivals.methods.items():
        for row in _rows_of(method, settings, rivals.seeds):
            if row.name in (*FIXED, *PICTURES, *rows):
                raise ValueError(f"rivals.methods.{method} has a row {row.name}, the name of another; rename it")
            rows[row.name] = row
    again = (RivalRow(FSR, "steps", seed=seed) for seed in rivals.seeds)
    return rows | {row.name: row for row in again}


def is_trained(method: Rival) -> bool:
    """Whether the study trains a method, rather than take the weights of others."""
    return isinstance(method, OtherField) or (not isinstance(method, Pixel) and method.weights is None)


def _rows_of(name: str, method: Rival, seeds: Sequence[int]) -> Iterator[RivalRow]:
    afters: tuple[After, ...] = ("", "ensemble", *(("matched", "noised") if isinstance(method, Lsrna) else ()))
    if is_trained(method):
        yield from (RivalRow(name, *rest) for rest in product(get_args(Budget), afters, (None, *seeds)))
    else:
        yield from (RivalRow(name, None, after) for after in afters)


def trained_rows(params: "Params") -> list[RivalRow]:
    """What a study trains beside fsr, one row a model: what the rows of benchmark.upscalers need."""
    rows = rival_rows(params.rivals)
    named = [rows[name] for name in params.benchmark.upscalers if name in rows]
    return list({row.model: row for row in named if row.budget}.values())


def trained_methods(params: "Params") -> list[str]:
    """The methods they are of, but for fsr."""
    return list(dict.fromkeys(row.method for row in trained_rows(params) if row.method != FSR))


def searched_methods(params: "Params") -> list[str]:
    """Those whose learning rate is searched: another field is trained as fsr is, at train.lr."""
    return [name for name in trained_methods(params) if not isinstance(params.rivals.methods[name], OtherField)]
