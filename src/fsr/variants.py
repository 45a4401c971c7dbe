"""The combinations an ablation compares, apart from what trains them: planning a workflow needs their names alone."""

from dataclasses import dataclass
from itertools import product

from fsr.config import Ablation


@dataclass(frozen=True)
class Variant:
    """One combination; `losses` is a name of `ablation.losses`."""

    cut: str
    block: str
    patch: int
    losses: str

    @property
    def name(self) -> str:
        return f"{self.cut}-{self.block}-{self.patch}-{self.losses}"


def variants(ablation: Ablation) -> list[Variant]:
    """Every combination it asks for."""
    return [Variant(*values) for values in product(ablation.cuts, ablation.blocks, ablation.patches, ablation.losses)]
