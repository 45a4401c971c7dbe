"""The files the report reads, and what they say."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from fsr.config import Params
from fsr.files import read_json
from fsr.report.cells import Benchmark, read_base_only, read_benchmark
from fsr.report.chapters.distribution import read_distribution
from fsr.report.chapters.runtime import read_runtime
from fsr.report.chapters.training import read_costs, read_published_costs, read_search
from fsr.report.data import ImageSet, Leakage, read_image_set, read_leakage, set_labels
from fsr.report.names import Rows, rows
from fsr.report.published import read_published
from fsr.report.run import TrainedCut, read_trained_cut


@dataclass(frozen=True)
class ReportInputs:
    """The files the report reads; several of a kind are in the order to show them."""

    benchmarks: tuple[Path, ...]  # a CSV per scale and test set
    base_only: tuple[Path, ...]  # a CSV per scale and set that is enlarged without high resolution; may be none
    pictures: Path  # folder of x<scale>/<set>/<row>/<image>.png; of base-only sets below base_only/
    datasets: tuple[Path, ...]  # a manifest per set of the study
    distribution: Path
    runtime: Path
    leakage: Path
    leakage_grid: Path
    published: Path
    training_costs: Path  # published ones
    probe: Path
    probe_runtime: Path
    probe_grid: Path
    selected_cut: Path
    train_log: Path
    train_grid: Path
    train_runtime: Path
    trained_cut: Path
    rivals: Mapping[str, Path]  # {what was trained: its runtime.json}; may be none
    searches: tuple[Path, ...]  # a search.json per method; may be none


@dataclass(frozen=True)
class Found:
    """What the inputs say.

    Attributes:
        rows: every row the study may have.
        labels: {set: what captions call it} of all sets of the study.
        selected: as `select_cut` writes it.
        costs, published_costs: of training, as `read_costs` and `read_published_costs` have them.
    """

    rows: Rows
    benchmark: Benchmark
    base_only: Benchmark
    distribution: pd.DataFrame
    runtime: pd.DataFrame
    sets: list[ImageSet]
    labels: dict[str, str]
    leakage: Leakage
    published: pd.DataFrame
    probe: pd.DataFrame
    probe_runtime: pd.DataFrame
    selected: Mapping[str, Any]
    trained: TrainedCut
    costs: pd.DataFrame
    published_costs: pd.DataFrame
    searches: list[dict[str, Any]]

    @property
    def probed(self) -> pd.DataFrame:
        """The probe's table beside what it measured on its machine."""
        return self.probe.merge(self.probe_runtime, on="cut")

    @property
    def tested(self) -> dict[str, str]:
        """{test set that is available: what captions call it}."""
        return {name: self.labels[name] for name in self.benchmark.sets if name not in self.benchmark.unavailable}


def read_inputs(params: Params, results: ReportInputs) -> Found:
    """The tables the report is made of.

    Raises:
        FileNotFoundError, ValueError: a file is missing, or has not the form the stage before writes.
    """
    known, protocols = rows(params.rivals), params.benchmark.protocols
    benchmark = read_benchmark(results.benchmarks, protocols, params.scales, known)
    base_only = read_base_only(results.base_only, protocols, known)
    sets = [read_image_set(manifest) for manifest in results.datasets]
    return Found(
        rows=known,
        benchmark=benchmark,
        base_only=base_only,
        distribution=read_distribution(results.distribution, known),
        runtime=read_runtime(results.runtime, known),
        sets=sets,
        labels=set_labels(sets, (*benchmark.sets, *base_only.sets)),
        leakage=read_leakage(results.leakage),
        published=read_published(results.published),
        probe=read_probe(results.probe),
        probe_runtime=pd.read_csv(results.probe_runtime),
        selected=read_json(results.selected_cut),
        trained=read_trained_cut(results.trained_cut),
        costs=read_costs(results.train_runtime, results.rivals),
        published_costs=read_published_costs(results.training_costs),
        searches=[read_search(path) for path in results.searches],
    )


def read_probe(path: Path) -> pd.DataFrame:
    """probe.csv, its texts as text and its numbers as floats, NaN where empty."""
    return pd.read_csv(path).fillna({"reason": "", "stage": ""})
