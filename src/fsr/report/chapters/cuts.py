"""Fields trained at several cuts: what each gains, and whether the probe's scores put the cuts in that order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from fsr.config import OtherField, Params
from fsr.config.rows import BICUBIC_AT, FSR, RivalRow, rival_rows
from fsr.report.columns import Column
from fsr.report.names import PRIMARY, Rows, times
from fsr.report.sheets import EMPTY, Cell, Chapter, Sheet, number, where
from fsr.selection import PROTOTYPE_WEIGHTS, min_max_scores

TEXT = (
    "A field at each cut, trained on the same crops for the same steps. PSNR against x_H_rec, and in brackets what the "
    "field gains over feature bicubic at its own cut. The scores are the probe's, made before anything was trained."
)
NONE = "No fields of one group (rivals.methods) were measured at several cuts."
MOST_LEFT_OUT = 2  # candidates
LEAST_CUTS = 3  # below that a rank correlation says nothing
SCORES = {"score": "absolute", "prototype_score": "prototype's"}


@dataclass(frozen=True)
class Trained:
    """A field of a group: its row, its cut, and {set: (PSNR, gain over feature bicubic at the cut, or NaN)}."""

    upscaler: str
    cut: str
    psnr: Mapping[str, tuple[float, float]]

    @property
    def mean(self) -> float:
        """Over sets."""
        return float(np.mean([psnr for psnr, _ in self.psnr.values()]))


def cuts_chapter(
    params: Params, columns: Sequence[Column], cut: str, probe: pd.DataFrame, runtime: pd.DataFrame, rows: Rows
) -> Chapter:
    """A sheet per group and scale with a line per cut, and one of rank correlations between scores and PSNR.

    Args:
        columns: of the first protocol.
        cut: fsr's own, which stands in every group that has no field at it.
        probe: the probe's table beside what it measured on its machine (head_ms, tail_ms, prototype_score).
        runtime: of `read_runtime`.
    """
    scores, sheets, ranks, frames = probe.set_index("cut"), [], [], []
    for scale in params.scales:
        here = {column.place[2]: column for column in columns if column.place[1] == scale and is_primary(column)}
        for group, members in groups(params, cut).items():
            fields = [trained for name, at in members.items() if (trained := _trained(name, at, cut, here))]
            if len({field.cut for field in fields}) < 2:
                continue
            told = f"Fields of {group}; {where(scale, params.benchmark.protocols[0])}"
            sheets.append(_sheet(told, fields, scores, _milliseconds(runtime, scale), rows))
            ranks += _ranks(group, fields, scores, scale)
            frames += [_line(group, field, scores, scale, name) for field in fields for name in field.psnr]
    if not sheets:
        return Chapter(NONE)
    sheets += [*_ranks_sheet(ranks), _orders_sheet(probe)]
    return Chapter(TEXT, tuple(sheets), frame=pd.DataFrame(frames))


def is_primary(column: Column) -> bool:
    """Whether a column is PSNR against x_H_rec."""
    return column.place[-1] == PRIMARY and column.metric == "psnr"


def groups(params: Params, cut: str) -> dict[str, dict[str, str]]:
    """{group: {row: its cut}} of the measured fields of `rivals.methods`, in the order of cuts.

    fsr itself stands for its cut in a group that has no other field there.
    """
    known, found = rival_rows(params.rivals), {}
    for name in params.benchmark.upscalers:
        method = params.rivals.methods.get(known[name].method) if name in known else None
        comparable = name in known and known[name] == RivalRow(known[name].method, "steps")
        if isinstance(method, OtherField) and method.group and comparable:
            found.setdefault(method.group, {})[name] = cut if method.cut == "best" else method.cut
    for members in found.values():
        if cut not in members.values():
            members[FSR] = cut
    return {group: dict(sorted(members.items(), key=lambda item: item[1])) for group, members in found.items()}


def _trained(name: str, at: str, cut: str, here: Mapping[str, Column]) -> Trained | None:
    psnr = {}
    for set_name, column in here.items():
        base = next((row for row, place in BICUBIC_AT.items() if place == at and row in column.upscalers), None)
        base = "feature_bicubic" if at == cut else base
        mean = float(column.of(name).mean())
        psnr[set_name] = mean, mean - float(column.of(base).mean()) if base else np.nan
    return Trained(name, at, psnr) if psnr else None


def _milliseconds(runtime: pd.DataFrame, scale: int) -> dict[str, float]:
    """{row: milliseconds from a latent} at the largest side that was timed."""
    part = runtime[(runtime["scale"] == scale) & (runtime["entry"] == "latent") & (runtime["stage"] == "total")]
    if part.empty:
        return {}
    part = part[part["side"] == part["side"].max()]
    return dict(zip(part["upscaler"], part["milliseconds"], strict=True))


def _sheet(
    caption: str, fields: Sequence[Trained], scores: pd.DataFrame, taken: Mapping[str, float], rows: Rows
) -> Sheet:
    sets = list(fields[0].psnr)
    best = max(fields, key=lambda field: field.mean)
    body = []
    for field in fields:
        cells = [_gain(*field.psnr[name]) for name in sets]
        told = [number(scores.loc[field.cut, column], 3) for column in SCORES]
        duration = Cell(number(taken[field.upscaler], 0)) if field.upscaler in taken else Cell(EMPTY)
        mean = Cell(number(field.mean, 2), bold=field is best)
        body.append((Cell(field.cut), Cell(rows[field.upscaler].label), *cells, mean, duration, *map(Cell, told)))
    columns = ("cut", "field", *(f"{name} (dB)" for name in sets), "mean (dB)", "inference (ms)",
               *(f"{label} score" for label in SCORES.values()))  # fmt: skip
    return Sheet(caption, columns, tuple(body), ("field",))


def _gain(psnr: float, gain: float) -> Cell:
    return Cell(number(psnr, 2), "" if np.isnan(gain) else f"({number(gain, 2, signed=True)})")


def _line(group: str, field: Trained, scores: pd.DataFrame, scale: int, set_name: str) -> dict[str, object]:
    psnr, gain = field.psnr[set_name]
    told = {column: scores.loc[field.cut, column] for column in SCORES}
    place = {"group": group, "scale": scale, "cut": field.cut, "upscaler": field.upscaler, "set": set_name}
    return place | {"psnr": psnr, "gain": gain} | told


def _ranks(group: str, fields: Sequence[Trained], scores: pd.DataFrame, scale: int) -> list[tuple[Cell, ...]]:
    if len({field.cut for field in fields}) < LEAST_CUTS:
        return []
    means, lines = [field.mean for field in fields], []
    for column, label in SCORES.items():
        told = [scores.loc[field.cut, column] for field in fields]
        correlation = pd.Series(told).rank().corr(pd.Series(means).rank())
        known = (Cell(label), Cell(group), Cell(times(scale)), Cell(str(len(fields))))
        lines.append((*known, Cell(number(float(correlation), 2, signed=True))))
    return lines


def _ranks_sheet(lines: Sequence[tuple[Cell, ...]]) -> tuple[Sheet, ...]:
    columns = ("score", "fields of", "scale", "cuts", "Spearman's ρ")
    told = "Rank correlation of the probe's scores with the mean PSNR of trained fields (1: the same order)"
    return (Sheet(told, columns, tuple(lines), ("fields of", "scale")),) if lines else ()


def orders(probe: pd.DataFrame) -> list[tuple[tuple[str, ...], dict[str, list[str]]]]:
    """(cuts left out, {score: the others, best first}) for every set of candidates that leaves out none, one or two.

    Args:
        probe: as `cuts_chapter` takes it.
    """
    usable = probe[probe["status"] == "ok"].set_index("cut")
    usable = usable.assign(runtime=usable["head_ms"] + usable["tail_ms"])
    means = {cut: {name: float(line[name]) for name in PROTOTYPE_WEIGHTS} for cut, line in usable.iterrows()}
    found = []
    for out in (left for count in range(MOST_LEFT_OUT + 1) for left in combinations(means, count)):
        kept = {cut: mean for cut, mean in means.items() if cut not in out}
        if len(kept) >= 2:
            scores = {"score": usable["score"], "prototype_score": min_max_scores(kept)}
            found.append((out, {name: sorted(kept, key=lambda cut: -score[cut]) for name, score in scores.items()}))
    return found


def _orders_sheet(probe: pd.DataFrame) -> Sheet:
    """How each score orders the candidates that are left when some are left out."""
    found = orders(probe)
    whole, body = found[0][1], []
    for out, order in found:
        cells = []
        for name in SCORES:
            same = order[name] == [cut for cut in whole[name] if cut not in out]
            cells.append(Cell(" > ".join(order[name]), bold=not same))
        body.append((Cell(", ".join(out) or "none"), *cells))
    told = "Order of the cuts when candidates are left out; bold: not the order they had among all"
    return Sheet(told, ("left out", *(f"by the {label} score" for label in SCORES.values())), tuple(body))
