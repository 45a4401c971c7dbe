"""The report of one experiment: tables, figures and the page, from the files of the stages before it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from fsr.config import Params
from fsr.files import read_json, write_text
from fsr.report import drawings, tables
from fsr.report.cells import Benchmark, read_benchmark
from fsr.report.data import ImageSet, Leakage, data_chapter, leakage_remarks, read_image_set, read_leakage, set_labels
from fsr.report.names import BASE, FSR
from fsr.report.page import AtScale, Content, Figure, render_page
from fsr.report.pictures import Gallery, shown
from fsr.report.published import published_chapter, read_published
from fsr.report.run import TrainedCut, cost_line, probe_note, read_trained_cut, runtime_sheet, trained_note
from fsr.report.sheets import Chapter, benchmark_chapter, differences_chapter, probe_chapter


@dataclass(frozen=True)
class ReportInputs:
    """The files the report reads; `benchmarks` is a CSV per scale and test set, in the order to show them."""

    benchmarks: tuple[Path, ...]
    pictures: Path  # folder of x<scale>/<set>/<row>/<image>.png
    datasets: tuple[Path, ...]  # a manifest per set of the study, in the order to show them
    leakage: Path
    leakage_grid: Path
    published: Path
    probe: Path
    probe_runtime: Path
    probe_grid: Path
    selected_cut: Path
    train_log: Path
    train_grid: Path
    train_runtime: Path
    trained_cut: Path


@dataclass(frozen=True)
class Found:
    """What the inputs say; `labels` is {test set: what captions call it}."""

    benchmark: Benchmark
    sets: list[ImageSet]
    labels: dict[str, str]
    leakage: Leakage
    published: pd.DataFrame
    probe: pd.DataFrame
    selected: Mapping[str, Any]  # as `select_cut` writes it
    trained: TrainedCut


@dataclass(frozen=True)
class Numbers:
    """What is computed of the benchmark: `summary` and `differences` under all protocols, `gains` under the first."""

    summary: pd.DataFrame
    differences: pd.DataFrame
    gains: pd.DataFrame


def build_report(params: Params, results: ReportInputs, output: Path) -> None:
    """Write tables/*.csv and *.md, figures/*.png and index.html below `output`.

    Tables and figures are the same bytes for the same inputs; only the page tells what the run cost on its machine.

    Raises:
        ValueError: an input has not the form the stage before writes, no test set is available, or the gallery lacks
            the rows that are compared.
        FileNotFoundError: an input is missing.
    """
    missing = [row for row in (BASE, FSR) if row not in params.report.gallery]
    if missing:
        raise ValueError(f"the page compares {BASE} with {FSR}; add {', '.join(missing)} to report.gallery")
    found = read_inputs(params, results)
    numbers = compute_numbers(params, found.benchmark)
    chapters = make_chapters(params, found, numbers)
    write_tables(found, numbers, chapters, output / "tables")
    write_text(output / "index.html", render_page(draw_content(params, results, found, numbers, chapters, output)))


def read_inputs(params: Params, results: ReportInputs) -> Found:
    """The tables the report is made of."""
    benchmark = read_benchmark(results.benchmarks, params.benchmark.protocols, params.scales)
    sets = [read_image_set(manifest) for manifest in results.datasets]
    labels = set_labels(sets, benchmark.sets)
    return Found(
        benchmark,
        sets,
        labels,
        read_leakage(results.leakage),
        read_published(results.published),
        read_probe(results.probe),
        read_json(results.selected_cut),
        read_trained_cut(results.trained_cut),
    )


def read_probe(path: Path) -> pd.DataFrame:
    """probe.csv, its texts as text and its numbers as floats, NaN where empty."""
    return pd.read_csv(path).fillna({"reason": "", "stage": ""})


def compute_numbers(params: Params, benchmark: Benchmark) -> Numbers:
    """Means, differences and gains of the benchmark's cells."""
    resampling = params.benchmark.bootstrap, params.seed
    return Numbers(
        tables.summarise(benchmark.measured, *resampling),
        tables.difference_frame(benchmark.measured, *resampling),
        tables.gains(benchmark.under(params.benchmark.protocols[0])),
    )


def make_chapters(params: Params, found: Found, numbers: Numbers) -> dict[str, Chapter]:
    """What is read above and in the tables, by the name of their Markdown file."""
    absent = [f"{name}: not available ({reason})" for name, reason in found.benchmark.unavailable.items()]
    remarks = (*absent, *leakage_remarks(found.leakage))
    return {
        "benchmark": benchmark_chapter(numbers.summary, found.labels, remarks),
        "differences": differences_chapter(numbers.differences, found.labels),
        "published": published_chapter(found.published, found.benchmark.sets, params.scales),
        "probe": probe_chapter(found.probe, params.scales, trained_note(found.trained, found.selected)),
        "data": data_chapter(found.sets, found.leakage),
    }


def write_tables(found: Found, numbers: Numbers, chapters: Mapping[str, Chapter], folder: Path) -> None:
    """benchmark, differences and per_image as CSV, each chapter as Markdown."""
    tables.write_csv(folder / "benchmark.csv", tables.benchmark_frame(numbers.summary, found.benchmark.absent))
    tables.write_csv(folder / "differences.csv", numbers.differences)
    tables.write_csv(folder / "per_image.csv", tables.per_image_frame(found.benchmark.measured))
    for name, chapter in chapters.items():
        write_text(folder / f"{name}.md", chapter.markdown())


def draw_content(
    params: Params,
    results: ReportInputs,
    found: Found,
    numbers: Numbers,
    chapters: Mapping[str, Chapter],
    output: Path,
) -> Content:
    """What stands on the page; figures/*.png are drawn below `output` on the way."""
    folder, cut = output / "figures", found.trained.cut
    figures = draw_charts(params, results, found, folder)
    if found.leakage.matches:
        figures["leakage"] = drawings.leakage_grid(results.leakage_grid)
    return Content(
        experiment=params.experiment,
        scales=[draw_scale(params, results, found, numbers, scale, folder) for scale in params.scales],
        protocol=params.benchmark.protocols[0],
        cut=f"{cut} ({found.probe.set_index('cut').loc[cut, 'stage']})",
        probe_note=probe_note(params, found.selected),
        cost=cost_line(read_json(results.train_runtime)),
        warning=found.leakage.sentence if found.leakage.matches else "",
        chapters=chapters,
        probe_runtime=runtime_sheet(pd.read_csv(results.probe_runtime), found.probe),
        figures=figures,
        labels=found.labels,
    )


def draw_charts(params: Params, results: ReportInputs, found: Found, folder: Path) -> dict[str, Figure]:
    """training.png and probe.png, and the grids that the probe and training drew."""
    return {
        "training": drawings.training_chart(folder / "training.png", results.train_log),
        "probe": drawings.probe_chart(folder / "probe.png", found.probe, params),
        "probe_grid": drawings.probe_grid(results.probe_grid, params.scales[0]),
        "validation": drawings.validation_grid(results.train_grid, params.scales[0]),
    }


def draw_scale(
    params: Params, results: ReportInputs, found: Found, numbers: Numbers, scale: int, folder: Path
) -> AtScale:
    """psnr.png, zooms.png and contact_sheet_<set>.png of one scale; the names of all but the first end in _x<scale>."""
    gallery = Gallery(results.pictures / f"x{scale}", tuple(params.report.gallery), scale)
    gains = numbers.gains[numbers.gains["scale"] == scale]
    images, suffix = shown(gains), "" if scale == params.scales[0] else f"_x{scale}"
    here = (numbers.summary["scale"] == scale) & (numbers.summary["protocol"] == params.benchmark.protocols[0])
    sheets = {name: folder / f"contact_sheet_{name}{suffix}.png" for name in found.benchmark.sets}
    return AtScale(
        psnr=drawings.psnr_chart(folder / f"psnr{suffix}.png", numbers.summary[here], found.labels),
        zooms=drawings.zooms(folder / f"zooms{suffix}.png", gallery, gains, params),
        contact_sheets=drawings.contact_sheets(sheets, gallery, images, found.labels, found.benchmark.unavailable),
        gallery=gallery,
        images=images,
        total_images=len(gains),
    )
