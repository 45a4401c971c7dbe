"""The benchmark's cells as the report reads them: what was measured, and the sets that could not be."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fsr.report.names import BASE, BASELINES, CEILING, FSR, LOW, METRICS, TARGETS, Rows

COLUMNS = ("protocol", "scale", "set", "image", "upscaler", "target", "metric", "value", "reason")


@dataclass(frozen=True)
class Benchmark:
    """The cells of all sets, in file order.

    Attributes:
        measured: one line per number, as text but for the scale; with `number`, the value as float, NaN where empty.
        absent: one line per protocol, scale and set that is not available: protocol, scale, set, reason.
        sets: all of them, in order.
    """

    measured: pd.DataFrame
    absent: pd.DataFrame
    sets: tuple[str, ...]

    @property
    def unavailable(self) -> dict[str, str]:
        """{set: why it is not available}."""
        return dict(zip(self.absent["set"], self.absent["reason"], strict=True))

    def under(self, protocol: str) -> pd.DataFrame:
        """What was measured under one protocol."""
        return self.measured[self.measured["protocol"] == protocol]


def read_benchmark(paths: Sequence[Path], protocols: Collection[str], scales: Sequence[int], rows: Rows) -> Benchmark:
    """The cells of all sets, each measured at all `scales` under all `protocols`.

    Args:
        rows: every row the study may have.

    Raises:
        ValueError: other columns, protocols or scales, a metric, target or row without a name, a cell with neither
            value nor reason, a PSNR missing, a row missing that the report compares with, or no set that is available.
    """
    cells = pd.concat([_read_set(path, protocols) for path in paths], ignore_index=True)
    _check_scales(cells, scales)
    benchmark = _benchmark(cells)
    if benchmark.measured.empty:
        told = "; ".join(f"{name}: {reason}" for name, reason in benchmark.unavailable.items())
        raise ValueError(f"no test set is available ({told}); make one available or name another in data.test")
    _check_names(benchmark.measured, rows, (FSR, *BASELINES, CEILING))
    return benchmark


def read_base_only(paths: Sequence[Path], protocols: Collection[str], rows: Rows) -> Benchmark:
    """The cells of the sets that were enlarged without a high-resolution original; there may be none.

    Not every protocol and scale need be measured.

    Raises:
        ValueError: other columns or protocols, a metric, target or row without a name, a number against another target
            than the low-resolution image, a cell with neither value nor reason, or a row missing that is compared with.
    """
    empty = pd.DataFrame(columns=list(COLUMNS), dtype=str)
    cells = [_read_set(path, protocols, some=True) for path in paths]
    benchmark = _benchmark(pd.concat([empty, *cells], ignore_index=True))
    if not benchmark.measured.empty:
        _check_names(benchmark.measured, rows, (FSR, BASE))
        stray = sorted(set(benchmark.measured["target"]) - {LOW})
        if stray:
            raise ValueError(f"a base-only set has the target {', '.join(stray)}, not {LOW}; benchmark it again")
    return benchmark


def _benchmark(cells: pd.DataFrame) -> Benchmark:
    cells = cells.assign(scale=cells["scale"].astype(int))
    is_absent = cells["image"] == ""
    return Benchmark(
        cells[~is_absent].assign(number=lambda measured: pd.to_numeric(measured["value"])),
        cells.loc[is_absent, ["protocol", "scale", "set", "reason"]].reset_index(drop=True),
        tuple(cells["set"].unique()),
    )


def _check_scales(cells: pd.DataFrame, scales: Sequence[int]) -> None:
    for name, part in cells.groupby("set", sort=False):
        found = part["scale"].unique()
        if set(found) != set(map(str, scales)):
            wanted, listed = ", ".join(map(str, scales)), ", ".join(found)
            raise ValueError(
                f"{name} must be measured at the scales {wanted}, not {listed}; delete it, benchmark again"
            )


def _check_names(measured: pd.DataFrame, rows: Rows, needed: Sequence[str]) -> None:
    for column, known in (("metric", METRICS), ("target", TARGETS), ("upscaler", rows)):
        unknown = sorted(set(measured[column]) - set(known))
        if unknown:
            raise ValueError(f"{column} {', '.join(unknown)} has no name for readers; add it to fsr/report/names.py")
    missing = [name for name in needed if name not in set(measured["upscaler"])]
    if missing:
        raise ValueError(
            f"the report needs the row {', '.join(missing)}; add it to benchmark.upscalers, benchmark again"
        )


def _read_set(path: Path, protocols: Collection[str], some: bool = False) -> pd.DataFrame:
    cells = pd.read_csv(path, dtype=str, keep_default_na=False)
    again = "delete it and benchmark again"
    if tuple(cells.columns) != COLUMNS:
        raise ValueError(f"{path} must have the columns {', '.join(COLUMNS)}; {again}")
    held = set(cells["protocol"])
    if held != set(protocols) and not (some and held and held < set(protocols)):
        found = ", ".join(cells["protocol"].unique()) or "none"
        raise ValueError(f"{path} must hold the protocols {', '.join(protocols)}, not {found}; {again}")
    if ((cells["value"] == "") & (cells["reason"] == "")).any():
        raise ValueError(f"{path} has a cell with neither value nor reason; {again}")
    if (cells.loc[cells["metric"] == "psnr", "value"] == "").any():
        raise ValueError(f"{path} has a row without PSNR, which the report compares by; {again}")
    return cells
