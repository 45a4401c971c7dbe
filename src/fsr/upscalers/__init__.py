"""Every row of the tables, behind one protocol."""

from fsr.flow.field import VectorField
from fsr.upscalers.base import Rendering, Sample, Upscaler, encode_together
from fsr.upscalers.fsr import Fsr, diagnostics
from fsr.upscalers.interpolation import Bicubic, DecodedBicubic, FeatureBicubic, LatentBicubic, VaeRoundtrip

__all__ = ["Fsr", "Rendering", "Sample", "Upscaler", "build_upscalers", "encode_together", "known_upscalers"]


def build_upscalers(names: list[str], field: VectorField, seed: int = 0) -> list[Upscaler]:
    """The named rows, in the order given, at the cut `field` was trained for.

    Raises:
        ValueError: unknown name; the message lists the known ones.
    """
    known = known_upscalers(field, seed)
    for name in names:
        if name not in known:
            raise ValueError(f"upscaler {name!r} is unknown; choose among {', '.join(known)}")
    return [known[name] for name in names]


def known_upscalers(field: VectorField, seed: int = 0) -> dict[str, Upscaler]:
    """Every row there is, by name."""
    cut = field.config.cut
    rows: list[Upscaler] = [
        Bicubic(),
        DecodedBicubic(),
        LatentBicubic(),
        FeatureBicubic(cut),
        Fsr(field),
        *(Fsr(field, solver, eta, seed, name) for name, (solver, eta) in diagnostics().items()),
        VaeRoundtrip(cut),
    ]
    return {row.name: row for row in rows}
