"""Charts of what depends on the machine: stage times beside the round trip's decode, and training cost."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from fsr.report.chapters.runtime import ENTRIES, STAGES, TOTAL
from fsr.report.names import CEILING, Rows, times
from fsr.report.sheets import number
from fsr.report.style import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, SKY, VERMILION, drawing, wrapped

STAGE_COLOURS = dict(zip(STAGES, (SKY, ORANGE, VERMILION, BLUE, GREEN), strict=True))


def draw_runtime(path: Path, runtime: pd.DataFrame, rows: Rows) -> None:
    """Stage times relative to the decode of the VAE round trip: a panel per scale, entry and size, a bar per row.

    Args:
        runtime: of `read_runtime`, not empty.
    """
    sides = list(runtime["side"].unique())
    lines = list(runtime[["scale", "entry"]].drop_duplicates().itertuples(index=False, name=None))
    most = runtime.groupby(["scale", "entry", "side"])["upscaler"].nunique().max()
    with drawing(path, 2.2 + 3.0 * len(sides), 0.7 + len(lines) * (0.7 + 0.24 * most)) as figure:
        panels = figure.subplots(len(lines), len(sides), squeeze=False)
        for line, (scale, entry) in zip(panels, lines, strict=True):
            for axes, side in zip(line, sides, strict=True):
                here = (runtime["scale"] == scale) & (runtime["entry"] == entry) & (runtime["side"] == side)
                _stage_bars(axes, runtime[here], rows, labelled=side == sides[0])
                axes.set_title(f"{times(scale)} from {ENTRIES[entry]}, {side} → {side * scale}")
        handles = {
            label: bar for axes in panels.flat for bar, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        figure.legend(handles.values(), handles, loc="outside upper center", ncols=len(handles), fontsize=8)
        figure.supxlabel(f"time over the decode of the {rows[CEILING].label}", fontsize=9)


def _stage_bars(axes: Axes, part: pd.DataFrame, rows: Rows, labelled: bool) -> None:
    upscalers = list(part["upscaler"].unique())
    for y, upscaler in enumerate(upscalers):
        lines, left = part[part["upscaler"] == upscaler], 0.0
        known = {line.stage: line.relative for line in lines.itertuples() if np.isfinite(line.relative)}
        for stage in (stage for stage in STAGES if stage in known):
            label = stage if stage not in axes.get_legend_handles_labels()[1] else "_"
            axes.barh(y, known[stage], left=left, height=0.66, color=STAGE_COLOURS[stage], label=label)
            left += known[stage]
        if not known:
            axes.text(0, y, f" {lines['reason'].iloc[0]}", va="center", color=GREY, fontsize=7)
            continue
        total = known.get(TOTAL, left)
        if not left:
            axes.barh(y, total, height=0.66, color=GREY)
        axes.text(max(left, total), y, f" {number(total, 2)}", va="center", color=INK, fontsize=7.5)
    axes.set_yticks(
        range(len(upscalers)), [wrapped(rows[name].label) for name in upscalers] if labelled else [""] * len(upscalers)
    )
    axes.set_ylim(len(upscalers) - 0.4, -0.6)
    axes.axvline(1, color=INK, linewidth=0.8, linestyle=":")
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.15)


def draw_training_cost(path: Path, measured: Mapping[str, float], published: Mapping[str, float]) -> None:
    """Hours of training on logarithmic axes: measured process hours, and published GPU hours in a panel of their own.

    Args:
        measured, published: {what a bar is called: hours}.
    """
    with drawing(path, 9.0, 0.9 + 0.34 * max(len(measured), len(published))) as figure:
        panels = figure.subplots(1, 2)
        _hours(panels[0], "measured here", measured, "process hours")
        _hours(panels[1], "published, other machines and scopes", published, "GPU hours")


def _hours(axes: Axes, title: str, bars: Mapping[str, float], unit: str) -> None:
    least = min((hours for hours in bars.values() if hours > 0), default=1.0)
    for y, (label, hours) in enumerate(bars.items()):
        colour = VERMILION if label.startswith("FSR") else PURPLE
        axes.barh(y, hours, height=0.62, color=colour)
        axes.text(hours, y, f" {hours:.3g}", va="center", fontsize=8)
    axes.set_yticks(range(len(bars)), list(map(wrapped, bars)))
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.set(title=title, xlabel=unit, xscale="log", xlim=(least / 4, 4 * max([*bars.values(), least])))
    axes.grid(axis="y", visible=False)


def hours_of(costs: pd.DataFrame, rows: Rows) -> dict[str, float]:
    """{row: process hours} of what was trained here."""
    return {rows[line.model].label: line.seconds * line.processes / 3600 for line in costs.itertuples()}


def published_hours(published: pd.DataFrame) -> dict[str, float]:
    """{method, scope: GPU hours} as the sources print them."""
    return {f"{line.method}, {line.scope}": float(line.gpu_hours) for line in published.itertuples()}
