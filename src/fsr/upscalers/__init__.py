"""Every row of the tables, behind one protocol."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from spandrel import ImageModelDescriptor

from fsr.autoencoders import FrozenAutoencoder
from fsr.config import Lua as LuaMethod
from fsr.config import OtherField, Params
from fsr.config import Pixel as PixelMethod
from fsr.config.rows import BICUBIC_AT, FSR, RivalRow, rival_rows
from fsr.flow.field import VectorField, load_field
from fsr.rivals import LsrnaNetwork, LuaNetwork, load_lsrna, load_lua, load_rival
from fsr.upscalers.base import Capabilities, Clock, Rendering, Sample, Stage, Upscaler, encode_together, untimed
from fsr.upscalers.ensemble import Ensemble
from fsr.upscalers.fsr import Fsr, diagnostics
from fsr.upscalers.interpolation import Bicubic, DecodedBicubic, FeatureBicubic, LatentBicubic, VaeRoundtrip
from fsr.upscalers.latent import Lsrna, Lua
from fsr.upscalers.pixel import Pixel, load_pixel_model

__all__ = [
    "Capabilities",
    "Clock",
    "Fsr",
    "Rendering",
    "Sample",
    "Stage",
    "Upscaler",
    "build_upscalers",
    "encode_together",
    "known_upscalers",
    "rival_upscalers",
    "untimed",
]


def build_upscalers(
    names: list[str], field: VectorField, seed: int = 0, rivals: Mapping[str, Upscaler] | None = None
) -> list[Upscaler]:
    """The named rows, in the order given, at the cut `field` was trained for; `rivals` are methods of others, by name.

    Raises:
        ValueError: unknown name; the message lists the known ones.
    """
    known = known_upscalers(field, seed) | dict(rivals or {})
    for name in names:
        if name not in known:
            raise ValueError(f"upscaler {name!r} is unknown; choose among {', '.join(known)}")
    return [known[name] for name in names]


def known_upscalers(field: VectorField, seed: int = 0) -> dict[str, Upscaler]:
    """Every row that is made with the study's field or none, by name."""
    cut = field.config.cut
    rows: list[Upscaler] = [
        Bicubic(),
        DecodedBicubic(),
        Ensemble(DecodedBicubic(), "decoded_bicubic_ensemble"),
        LatentBicubic(),
        FeatureBicubic(cut),
        Fsr(field),
        Ensemble(Fsr(field), "fsr_ensemble"),
        *(Fsr(field, solver, eta, seed, name) for name, (solver, eta) in diagnostics().items()),
        *(FeatureBicubic(other, name) for name, other in BICUBIC_AT.items()),
        VaeRoundtrip(),
    ]
    return {row.name: row for row in rows}


def rival_upscalers(params: Params, folders: Mapping[str, Path], autoencoder: FrozenAutoencoder) -> dict[str, Upscaler]:
    """The rows of `benchmark.upscalers` that are trained beside the field or that others trained, by name.

    Args:
        folders: {model: where its network was saved} of those that are trained (`RivalRow.model`).

    Raises:
        FileNotFoundError: a network or a file of weights is missing.
        ValueError: a network is for another autoencoder or cannot do a scale of the study, or a file of weights is not
            what the method needs.
    """
    known = rival_rows(params.rivals)
    rows = [known[name] for name in params.benchmark.upscalers if name in known]
    networks = {
        row.model: _network(row, params, folders, autoencoder) for row in {row.model: row for row in rows}.values()
    }
    upscalers = {row.name: _upscaler(row, networks[row.model], params) for row in rows}
    for upscaler in upscalers.values():
        check_scales(upscaler, params.scales)
    return upscalers


def check_scales(upscaler: Upscaler, scales: list[int]) -> None:
    """Pass if a row can do every scale of a study.

    Raises:
        ValueError: it cannot.
    """
    known = upscaler.capabilities.scales
    if known is not None and not set(scales) <= set(known):
        wanted, listed = (", ".join(map(str, each)) for each in (scales, known))
        raise ValueError(
            f"{upscaler.name} enlarges by {listed} only, and the study by {wanted}; take it out of "
            "benchmark.upscalers, or change scales"
        )


Network = LuaNetwork | LsrnaNetwork | VectorField | ImageModelDescriptor


def _network(row: RivalRow, params: Params, folders: Mapping[str, Path], autoencoder: FrozenAutoencoder) -> Network:
    method = params.rivals.methods.get(row.method)
    if row.method == FSR or isinstance(method, OtherField):
        return load_field(folders[row.model], autoencoder)
    if row.budget:
        return load_rival(folders[row.model], autoencoder)
    if isinstance(method, PixelMethod):
        return load_pixel_model(method.weights, autoencoder.device)
    load = load_lua if isinstance(method, LuaMethod) else load_lsrna
    return load(method.weights, autoencoder.latent_channels).to(autoencoder.device)


def _upscaler(row: RivalRow, network: Network, params: Params) -> Upscaler:
    if row.after == "ensemble":
        return Ensemble(_upscaler(replace(row, after=""), network, params), row.name)
    if isinstance(network, VectorField):
        return Fsr(network, name=row.name)
    method = params.rivals.methods[row.method]
    if isinstance(method, PixelMethod):
        return Pixel(network, row.name, method.source, method.tile)
    if isinstance(method, LuaMethod):
        return Lua(network, row.name)
    return Lsrna(network, row.name, row.after, params.seed)
