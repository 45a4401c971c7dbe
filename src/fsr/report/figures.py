"""The report's charts, each drawn from the files of one stage; the same input gives the same bytes."""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter

from fsr.config import ScoreWeights
from fsr.report.names import FSR, PRIMARY, TERMS, Rows, times
from fsr.report.style import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, SKY, VERMILION, drawing, wrapped

SIGNED_COLOURS = dict(zip((term.column for term in TERMS), (BLUE, SKY, ORANGE, VERMILION, PURPLE), strict=True))
CURVE_LABELS = {
    "validation_psnr": "validation PSNR (dB)",
    "validation_rgb_l1": "validation RGB L1",
    "validation_margin": "four steps over one (dB)",
    "lr": "learning rate",
    "skipped": "steps skipped so far",
}
VALIDATION = "validation_"  # how the columns of what is measured on held-out crops begin
SCALED = re.compile(r"(.+?)(?:_x(\d+))?")
RUNNING_POINTS = 40  # a training curve's median is taken over 1/40 of its points


def draw_psnr(path: Path, summary: pd.DataFrame, rows: Rows, labels: Mapping[str, str]) -> None:
    """Mean PSNR against x_H_rec with intervals, a panel per set; filled dots are methods, hollow ones diagnostics.

    Args:
        summary: of one scale and protocol.
        labels: {set: what its panel calls it}.
    """
    lines = summary[(summary["target"] == PRIMARY) & (summary["metric"] == "psnr")]
    sets, upscalers = list(lines["set"].unique()), list(lines["upscaler"].unique())
    with drawing(path, 2.0 + 2.8 * max(len(sets), 2), 1.2 + 0.27 * len(upscalers)) as figure:
        panels = figure.subplots(1, len(sets), sharey=True, squeeze=False)[0]
        for axes, name in zip(panels, sets, strict=True):
            part = lines[lines["set"] == name]
            _psnr_panel(axes, part, rows)
            title = f"{labels[name]} ({part['images'].iloc[0]} images)".replace(", ", ",\n")
            axes.set(title=title, xlabel="PSNR vs x_H_rec (dB)")
        panels[0].set_yticks(range(len(upscalers)), [wrapped(rows[upscaler].label) for upscaler in upscalers])
        panels[0].set_ylim(len(upscalers) - 0.4, -0.6)


def _psnr_panel(axes: Axes, part: pd.DataFrame, rows: Rows) -> None:
    for y, line in enumerate(part.itertuples()):
        if not np.isfinite(line.mean):
            place = {"transform": axes.get_yaxis_transform(), "ha": "right", "va": "center"}
            axes.text(0.99, y, "∞ (equals its target)", color=GREY, **place)
            continue
        colour = VERMILION if line.upscaler == FSR else BLUE
        filled = rows[line.upscaler].kind == "method"
        if not np.isnan(line.low):
            axes.plot([line.low, line.high], [y, y], color=colour, linewidth=1.6, alpha=0.55)
        axes.plot(line.mean, y, "o", markersize=5.5, color=colour, markerfacecolor=colour if filled else "white")
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.08)


def draw_training(path: Path, log: pd.DataFrame) -> None:
    """Validation, loss, each of its terms and what steers the steps, a small panel each; skipped steps if there are."""
    validation = [name for name in log.columns if name.startswith(VALIDATION)]
    last = [name for name in ("grad_norm", "lr", "skipped") if name in log]
    between = [name for name in log.columns if name not in (*validation, *last, "step", "loss")]
    names = [*validation, "loss", *between, *last]
    names = [name for name in names if np.isfinite(log[name]).any() and (name != "skipped" or log[name].any())]
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    with drawing(path, 9.0, 0.5 + 1.55 * rows) as figure:
        panels = figure.subplots(rows, columns, sharex=True, squeeze=False).flat
        for axes, name in zip(panels, names, strict=False):
            _curve(axes, log["step"], log[name])
        for axes in panels[len(names) :]:
            axes.remove()
        figure.supxlabel("optimiser step", fontsize=9)


def _curve(axes: Axes, steps: pd.Series, values: pd.Series) -> None:
    known = np.isfinite(values)
    x, y = steps[known], values[known]
    axes.set_title(_curve_label(values.name))
    axes.tick_params(labelbottom=True)
    if values.name.startswith(VALIDATION):
        axes.plot(x, y, color=GREEN, marker="o", markersize=2.5)
    elif values.name in ("lr", "skipped"):
        axes.plot(x, y, color=GREY)
        axes.set_ylim(bottom=0)
    else:
        width = max(1, len(y) // RUNNING_POINTS)
        axes.plot(x, y, color=SKY, linewidth=0.6, alpha=0.6)
        axes.plot(x, y.rolling(width, center=True, min_periods=1).median(), color=BLUE)
        if (y > 0).all() and y.max() > 10 * y.min():
            axes.set_yscale("log")
            axes.yaxis.set(major_locator=LogLocator(subs=(1, 2, 5)), minor_formatter=NullFormatter())
            axes.yaxis.set_major_formatter("{x:g}")


def _curve_label(name: str) -> str:
    """What the panel of a column of the log is called."""
    measure, scale = SCALED.fullmatch(name).groups()
    label = CURVE_LABELS.get(measure, measure.replace("_", " "))
    return f"{label}, {times(int(scale))}" if scale else label


def draw_probe(path: Path, probe: pd.DataFrame, weights: ScoreWeights | None) -> None:
    """The score of each cut with its interval, over the weighted terms it is the sum of.

    Args:
        weights: of the score's terms; None (a score that is not their sum) leaves the terms out.
    """
    with drawing(path, 8.0, 1.3 + 0.5 * len(probe)) as figure:
        axes = figure.subplots()
        for y, (_, line) in enumerate(probe.iterrows()):
            if np.isnan(line["score"]):
                axes.text(0, y, f" {line['status']}: {line['reason']}", va="center", color=GREY)
                continue
            if weights is not None:
                _contributions(axes, y, line, weights)
            axes.plot([line["score_low"], line["score_high"]], [y, y], color=INK, linewidth=1.6)
            label = _once("score, 95 % interval", axes)
            axes.plot(line["score"], y, "D", markersize=6, color=INK, markeredgecolor="white", label=label)
        labels = [f"{line['cut']} (selected)" if line["selected"] else line["cut"] for _, line in probe.iterrows()]
        axes.set_yticks(range(len(probe)), labels)
        axes.set(ylim=(len(probe) - 0.5, -0.5), xlabel="score (dimensionless; right is better)")
        axes.axvline(0, color=GREY, linewidth=0.8)
        axes.grid(axis="y", visible=False)
        if axes.get_legend_handles_labels()[1]:
            figure.legend(loc="outside upper center", ncols=3, fontsize=8)


def _contributions(axes: Axes, y: int, line: pd.Series, weights: ScoreWeights) -> None:
    ends = {+1: 0.0, -1: 0.0}
    for term in TERMS:
        value = term.sign * getattr(weights, term.weight) * line[term.column]
        side = 1 if value >= 0 else -1
        colour = SIGNED_COLOURS[term.column]
        label = _once(f"{'+' if term.sign > 0 else '−'} {term.label}", axes)
        axes.barh(y, value, left=ends[side], height=0.62, color=colour, edgecolor="white", linewidth=0.6, label=label)
        ends[side] += value


def _once(label: str, axes: Axes) -> str:
    """The label, or matplotlib's mark for none where the legend has it already."""
    return "_" if label in axes.get_legend_handles_labels()[1] else label
