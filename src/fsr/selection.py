"""Choosing the cut from the probe's reports.

Two scores. `absolute`, the default: every term is a dimensionless property of the cut alone, so that neither another
candidate nor the machine can change it. `prototype`: min-max over the candidates, with wall-clock time; kept to show
what it does.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fsr.config import Probe, ScoreWeights
from fsr.files import read_json, write_atomically, write_csv, write_json

MEASURES = ("rgb_l1", "hf_error", "lf_drift", "feature_l1", "fft_gap", "mean_gap", "std_gap", "sensitivity")
BROKEN_SHARE = 0.25
LEAST_GAP = 1e-6
PROTOTYPE_WEIGHTS = {"hf_error": 1.0, "fft_gap": 0.5, "lf_drift": -0.7, "sensitivity": -0.7, "runtime": -0.3}

Report = Mapping[str, Any]


@dataclass(frozen=True)
class Terms:
    """The absolute score's terms; the first two, at most 1, are rewarded, the others penalised."""

    missing_high_frequency: float
    relative_fft_gap: float
    relative_lf_drift: float
    relative_sensitivity: float
    relative_cost: float

    def score(self, weights: ScoreWeights) -> float:
        return (
            weights.high_frequency * self.missing_high_frequency
            + weights.fft * self.relative_fft_gap
            - weights.low_frequency * self.relative_lf_drift
            - weights.sensitivity * self.relative_sensitivity
            - weights.cost * self.relative_cost
        )


def absolute_terms(report: Report, crops: np.ndarray | None = None) -> Terms:
    """Terms of a cut, as ratios of sums over `crops` at every scale, so that flat crops weigh little.

    Args:
        crops: indices of crops, of which each may stand there several times; all crops once, where None.
    """
    columns = {name: np.asarray(values) for name, values in report["per_crop"].items()}
    entries = np.arange(len(columns["rgb_l1"])).reshape(-1, report["crops"])  # of a column: (scales, crops)
    chosen = (entries if crops is None else entries[:, crops]).ravel()

    def ratio(measure: str, scale: str) -> float:
        return float(columns[measure][chosen].sum() / columns[scale][chosen].sum())

    relative_change = columns["sensitivity"] * columns["feature_contrast"]
    return Terms(
        missing_high_frequency=min(1.0, ratio("hf_error", "hf_energy")),
        relative_fft_gap=min(1.0, ratio("fft_gap", "fft_amplitude")),
        relative_lf_drift=ratio("lf_drift", "lf_contrast"),
        relative_sensitivity=float(relative_change[chosen].sum() / columns["pixel_contrast"][chosen].sum()),
        relative_cost=report["relative_cost"],
    )


def bootstrap_interval(report: Report, probe: Probe, seed: int) -> tuple[float, float]:
    """95 % interval of the absolute score over resampled crops; a crop is drawn with all its scales."""
    count = report["crops"]
    source = np.random.default_rng(seed)
    scores = [
        absolute_terms(report, source.integers(count, size=count)).score(probe.weights) for _ in range(probe.bootstrap)
    ]
    low, high = np.percentile(scores, [2.5, 97.5])
    return float(low), float(high)


def rejection(report: Report) -> str:
    """Why a cut cannot be chosen; empty when it can."""
    if report["status"] != "ok":
        return report["reason"] or report["status"]
    decodes = len(report["per_crop"]["rgb_l1"])
    if report["broken"] > BROKEN_SHARE * decodes:
        return f"{report['broken']} of {decodes} decodes are broken"
    for measure in ("feature_l1", "hf_error"):
        if np.mean(report["per_crop"][measure]) < LEAST_GAP:
            return f"{measure} is below {LEAST_GAP:g}: nothing to learn here"
    return ""


def prototype_scores(reports: Mapping[str, Report]) -> dict[str, float]:
    """The prototype's score of each cut that is not rejected: it depends on the other candidates and on the clock."""
    return min_max_scores(
        {
            cut: {name: float(np.mean(report["per_crop"][name])) for name in MEASURES}
            | {"runtime": report["head_ms"] + report["tail_ms"]}
            for cut, report in reports.items()
        }
    )


def min_max_scores(means: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Likewise of what each candidate's measures (PROTOTYPE_WEIGHTS) came to on average."""
    scores = dict.fromkeys(means, 0.0)
    for name, weight in PROTOTYPE_WEIGHTS.items():
        values = [mean[name] for mean in means.values()]
        spread = max(values) - min(values)
        for cut, mean in means.items():
            scores[cut] += weight * ((mean[name] - min(values)) / spread if spread else 0.0)
    return scores


def select_cut(reports: list[Report], probe: Probe, seed: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The selection, and one table row per cut with the measures, the terms and the absolute score.

    The selection's `candidates` are the cuts to train: the best, and the second where it is too close to tell.

    Raises:
        ValueError: every cut was rejected; says why each was.
    """
    reasons = {report["cut"]: rejection(report) for report in reports}
    usable = {report["cut"]: report for report in reports if not reasons[report["cut"]]}
    if not usable:
        listed = "; ".join(f"{cut}: {reason}" for cut, reason in reasons.items())
        raise ValueError(f"no cut can be chosen ({listed}); probe other cuts or another autoencoder")
    absolute = {cut: absolute_terms(report).score(probe.weights) for cut, report in usable.items()}
    scores = absolute if probe.score == "absolute" else prototype_scores(usable)
    ranking = sorted(scores, key=lambda cut: (-scores[cut], cut))
    best = ranking[0]
    margin = scores[best] - scores[ranking[1]] if len(ranking) > 1 else None
    ambiguous = margin is not None and margin < probe.margin
    selection = {
        "cut": best,
        "candidates": ranking[:2] if ambiguous else [best],
        "stage": usable[best]["stage"],
        "score": round(scores[best], 6),
        "scored_by": probe.score,
        "ranking": [{"cut": cut, "score": round(scores[cut], 6)} for cut in ranking],
        "margin": None if margin is None else round(margin, 6),
        "ambiguous": ambiguous,
        "rejected": {cut: reason for cut, reason in reasons.items() if reason},
    }
    rows = [_row(report, reasons[report["cut"]], best, probe, seed) for report in reports]
    return selection, rows


def _row(report: Report, reason: str, best: str, probe: Probe, seed: int) -> dict[str, Any]:
    status = "rejected" if reason and report["status"] == "ok" else report["status"]
    row = {name: report[name] for name in ("cut", "stage")}
    row |= {"status": status, "reason": reason, "crops": report["crops"], "selected": report["cut"] == best}
    if report["status"] == "ok":
        terms = absolute_terms(report)
        low, high = bootstrap_interval(report, probe, seed)
        numbers = {name: float(np.mean(report["per_crop"][name])) for name in MEASURES} | vars(terms)
        numbers |= {"score": terms.score(probe.weights), "score_low": low, "score_high": high}
        row |= {name: f"{value:.8g}" for name, value in numbers.items()}
    return row


def runtime_rows(reports: list[Report]) -> list[dict[str, Any]]:
    """What depends on the machine: times, memory, and the prototype's score, which contains a time."""
    scores = prototype_scores({report["cut"]: report for report in reports if not rejection(report)})
    return [
        {
            "cut": report["cut"],
            "head_ms": report["head_ms"],
            "tail_ms": report["tail_ms"],
            "peak_memory_gib": report["peak_memory_gib"],
            "prototype_score": scores.get(report["cut"]),
        }
        for report in reports
    ]


@dataclass(frozen=True)
class SelectionFiles:
    """Where the selection and its tables go."""

    selection: Path
    table: Path
    runtime: Path
    grid: Path


def write_selection(
    report_files: list[Path], pictures: list[Path], probe: Probe, seed: int, files: SelectionFiles
) -> None:
    """Choose the cut from the reports of `probe_cut` and write the selection, both tables and the grid.

    Raises:
        ValueError: every cut was rejected.
    """
    reports = [read_json(file) for file in report_files]
    selection, rows = select_cut(reports, probe, seed)
    write_csv(files.table, rows)
    write_csv(files.runtime, runtime_rows(reports))
    strips = [Image.open(picture) for picture in pictures]
    grid = Image.new("RGB", (sum(strip.width for strip in strips), strips[0].height))
    for index, strip in enumerate(strips):
        grid.paste(strip, (index * strips[0].width, 0))
    write_atomically(files.grid, lambda temporary: grid.save(temporary))
    write_json(files.selection, selection)
