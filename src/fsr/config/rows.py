"""The rows of the tables by name, apart from what makes them: planning a workflow needs their names alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from fsr.config.rivals import Budget, Lsrna, Lua, Pixel, Rivals

if TYPE_CHECKING:
    from fsr.config import Params

FIXED = (
    "bicubic",
    "decoded_bicubic",
    "latent_bicubic",
    "feature_bicubic",
    "fsr",
    "fsr_euler2",
    "fsr_euler4",
    "fsr_heun4",
    "fsr_eta0.03",
    "fsr_eta0.05",
    "fsr_eta0.10",
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
After = Literal["", "matched", "noised"]


@dataclass(frozen=True)
class RivalRow:
    """A row of a method of others.

    Attributes:
        method: its name in `rivals.methods`.
        budget: what its training had in common with fsr's; None where nothing is trained here.
        after: what is done to its latent before it is decoded: nothing, matched means of channels, or added noise.
    """

    method: str
    budget: Budget | None
    after: After = ""

    @property
    def name(self) -> str:
        return "_".join(filter(None, (self.method, self.budget, self.after)))

    @property
    def model(self) -> str:
        """The name of what is trained for it."""
        return "_".join(filter(None, (self.method, self.budget)))


def rival_rows(rivals: Rivals) -> dict[str, RivalRow]:
    """Every row that methods of others have, by name.

    Raises:
        ValueError: two rows have one name.
    """
    rows: dict[str, RivalRow] = {}
    for method, settings in rivals.methods.items():
        for row in _rows_of(method, settings):
            if row.name in (*FIXED, *PICTURES, *rows):
                raise ValueError(f"rivals.methods.{method} has a row {row.name}, the name of another; rename it")
            rows[row.name] = row
    return rows


def _rows_of(name: str, method: Lua | Lsrna | Pixel) -> Iterator[RivalRow]:
    trained = not isinstance(method, Pixel) and method.weights is None
    for budget in get_args(Budget) if trained else (None,):
        yield RivalRow(name, budget)
        if isinstance(method, Lsrna):
            yield RivalRow(name, budget, "matched")
            yield RivalRow(name, budget, "noised")


def trained_rows(params: "Params") -> list[RivalRow]:
    """The rivals that a study trains, one row a model: those the rows of benchmark.upscalers need."""
    rows = rival_rows(params.rivals)
    named = [rows[name] for name in params.benchmark.upscalers if name in rows]
    return list({row.model: row for row in named if row.budget}.values())


def trained_methods(params: "Params") -> list[str]:
    """The methods they are of."""
    return list(dict.fromkeys(row.method for row in trained_rows(params)))
