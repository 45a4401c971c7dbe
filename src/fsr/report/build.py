"""The report of one experiment: tables, figures and the page, from the files of the stages before it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fsr.config import Params
from fsr.files import read_json, write_text
from fsr.report import drawings, tables
from fsr.report.cells import Benchmark, read_benchmark
from fsr.report.data import ImageSet, Leakage, data_chapter, leakage_remarks, read_image_set, read_leakage, set_labels
from fsr.report.names import BASE, FSR
from fsr.report.page import Content, Figure, render_page
from fsr.report.pictures import Gallery, shown
from fsr.report.published import published_chapter, read_published
from fsr.report.run import cost_line, cut_and_note, runtime_sheet
from fsr.report.sheets import Chapter, benchmark_chapter, differences_chapter, probe_chapter


@dataclass(frozen=True)
class ReportInputs:
    """The files the report reads; `benchmarks` is a CSV per test set, in the order to show them."""

    benchmarks: tuple[Path, ...]
    pictures: Path  # folder of <set>/<row>/<image>.png
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


@dataclass(frozen=True)
class Found:
    """What the inputs say; `labels` is {test set: what captions call it}."""

    benchmark: Benchmark
    sets: list[ImageSet]
    labels: dict[str, str]
    leakage: Leakage
    published: pd.DataFrame
    probe: pd.DataFrame


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
    chapters = make_chapters(found, numbers)
    write_tables(found, numbers, chapters, output / "tables")
    write_text(output / "index.html", render_page(draw_content(params, results, found, numbers, chapters, output)))


def read_inputs(params: Params, results: ReportInputs) -> Found:
    """The tables the report is made of."""
    benchmark = read_benchmark(results.benchmarks, params.benchmark.protocols)
    sets = [read_image_set(manifest) for manifest in results.datasets]
    labels = set_labels(sets, benchmark.sets)
    leakage, published = read_leakage(results.leakage), read_published(results.published)
    return Found(benchmark, sets, labels, leakage, published, read_probe(results.probe))


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


def make_chapters(found: Found, numbers: Numbers) -> dict[str, Chapter]:
    """What is read above and in the tables, by the name of their Markdown file."""
    absent = [f"{name}: not available ({reason})" for name, reason in found.benchmark.unavailable.items()]
    remarks = (*absent, *leakage_remarks(found.leakage))
    return {
        "benchmark": benchmark_chapter(numbers.summary, found.labels, remarks),
        "differences": differences_chapter(numbers.differences, found.labels),
        "published": published_chapter(found.published, found.benchmark.sets),
        "probe": probe_chapter(found.probe),
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
    gallery, folder = Gallery(results.pictures, tuple(params.report.gallery), params.scale), output / "figures"
    images = shown(numbers.gains)
    cut, cut_note = cut_and_note(params, read_json(results.selected_cut), found.probe)
    figures = draw_charts(params, results, found, numbers, folder)
    figures["zooms"] = drawings.zooms(folder / "zooms.png", gallery, numbers.gains, params)
    if found.leakage.matches:
        figures["leakage"] = drawings.leakage_grid(results.leakage_grid)
    return Content(
        experiment=params.experiment,
        scale=params.scale,
        protocol=params.benchmark.protocols[0],
        cut=cut,
        cut_note=cut_note,
        cost=cost_line(read_json(results.train_runtime)),
        warning=found.leakage.sentence if found.leakage.matches else "",
        chapters=chapters,
        probe_runtime=runtime_sheet(pd.read_csv(results.probe_runtime), found.probe),
        figures=figures,
        contact_sheets=drawings.contact_sheets(folder, gallery, images, found.labels, found.benchmark.unavailable),
        labels=found.labels,
        gallery=gallery,
        images=images,
        total_images=len(numbers.gains),
    )


def draw_charts(
    params: Params, results: ReportInputs, found: Found, numbers: Numbers, folder: Path
) -> dict[str, Figure]:
    """psnr.png, training.png and probe.png, and the grids that the probe and training drew."""
    first = numbers.summary[numbers.summary["protocol"] == params.benchmark.protocols[0]]
    return {
        "psnr": drawings.psnr_chart(folder / "psnr.png", first, found.labels),
        "training": drawings.training_chart(folder / "training.png", results.train_log),
        "probe": drawings.probe_chart(folder / "probe.png", found.probe, params),
        "probe_grid": drawings.probe_grid(results.probe_grid),
        "validation": drawings.validation_grid(results.train_grid),
    }
