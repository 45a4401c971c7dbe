"""The report of one experiment: tables, figures and the page, from the files of the stages before it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fsr.config import Params
from fsr.files import read_json, write_text
from fsr.report import tables
from fsr.report.chapters.base import base_detail_chapter, base_only_chapter, colour_chapter
from fsr.report.chapters.contextual import contextual_chapter
from fsr.report.chapters.cuts import cuts_chapter
from fsr.report.chapters.differences import differences_chapter, failures_chapter
from fsr.report.chapters.distribution import distribution_chapter
from fsr.report.chapters.headline import headline_chapter
from fsr.report.chapters.measured import benchmark_chapter, diagnostics_chapter, primary_chapter
from fsr.report.chapters.probe import probe_chapter
from fsr.report.chapters.repeats import repeats_chapter
from fsr.report.chapters.runtime import runtime_chapter
from fsr.report.chapters.training import learning_rates_chapter, training_cost_chapter
from fsr.report.columns import Column, Resampling, columns
from fsr.report.data import data_chapter, leakage_remarks
from fsr.report.drawings import draw_all
from fsr.report.inputs import Found, ReportInputs, read_inputs
from fsr.report.latex import chapter_latex
from fsr.report.names import BASE, FSR
from fsr.report.outline import sections
from fsr.report.page import Content, render_page
from fsr.report.per_image import image_tables
from fsr.report.pictures import FEW
from fsr.report.published import published_chapter, published_sheets
from fsr.report.run import cost_line, probe_note, runtime_sheet, trained_note
from fsr.report.sheets import Chapter

MACHINE = ("runtime", "training_cost", "cuts")  # chapters of what differs from machine to machine


@dataclass(frozen=True)
class Numbers:
    """What is computed of the cells: `gains` and `failures` under the first protocol, the rest under all.

    Attributes:
        first: the paired columns of the first protocol.
        macro: averages over sets.
        base_only: the summary of base-only cells.
        five: likewise, over the first images of the first base-only set.
    """

    first: list[Column]
    summary: pd.DataFrame
    macro: pd.DataFrame
    differences: pd.DataFrame
    gains: pd.DataFrame
    failures: pd.DataFrame
    base_only: pd.DataFrame
    five: pd.DataFrame


def build_report(params: Params, results: ReportInputs, output: Path) -> None:
    """Write each chapter below `output` as CSV, Markdown and LaTeX (tables/, machine/), figures/*.png and index.html.

    Tables and figures are the same bytes for the same inputs; what depends on the machine stands in machine/ and on the
    page only.

    Raises:
        ValueError: an input has not the form the stage before writes, no test set is available, or the gallery lacks
            the rows that are compared.
        FileNotFoundError: an input is missing.
    """
    missing = [row for row in (BASE, FSR) if row not in params.report.gallery]
    if missing:
        raise ValueError(f"the page compares {BASE} with {FSR}; add {', '.join(missing)} to report.gallery")
    found = read_inputs(params, results)
    numbers = compute_numbers(params, found)
    chapters = make_chapters(params, found, numbers)
    for name, chapter in chapters.items():
        write_chapter(output / ("machine" if name in MACHINE else "tables"), name, chapter)
    for name, cells in (("per_image", found.benchmark), ("per_image_base_only", found.base_only)):
        tables.write_csv(output / f"tables/{name}.csv", tables.per_image_frame(cells.measured))
    write_text(output / "index.html", render_page(make_content(params, results, found, numbers, chapters, output)))


def compute_numbers(params: Params, found: Found) -> Numbers:
    """Means, differences, gains and failures of the benchmark's cells."""
    resampling = Resampling(params.benchmark.bootstrap, params.seed)
    paired, without = columns(found.benchmark.measured), columns(found.base_only.measured)
    first = [column for column in paired if column.place[0] == params.benchmark.protocols[0]]
    five = [column.first(FEW) for column in without if column.place[2] == without[0].place[2]]
    return Numbers(
        first=first,
        summary=tables.summarise(paired, found.rows, resampling),
        macro=tables.macro_average(paired, found.rows, resampling),
        differences=tables.difference_frame(paired, resampling),
        gains=tables.gains(first),
        failures=tables.failures(first, found.rows),
        base_only=tables.summarise(without, found.rows, resampling),
        five=tables.summarise(five, found.rows, resampling),
    )


def make_chapters(params: Params, found: Found, numbers: Numbers) -> dict[str, Chapter]:
    """What is read above and in the tables, by the name of their files."""
    rows, labels, summary, scales = found.rows, found.labels, numbers.summary, params.scales
    absent = [f"{name}: not available ({reason})" for name, reason in found.benchmark.unavailable.items()]
    remarks = (*absent, *leakage_remarks(found.leakage))
    images = {scale: int((numbers.gains["scale"] == scale).sum()) for scale in scales}
    upscalers = tuple(found.benchmark.measured["upscaler"].unique())

    def published(table: str) -> tuple:
        return published_sheets(found.published, table, scales)

    trained = trained_note(found.trained, found.selected)
    return {
        "headline": headline_chapter(summary, rows, labels),
        "primary": primary_chapter(summary, rows, labels, remarks),
        "contextual": contextual_chapter(summary, found.published, rows, labels),
        "base_detail": base_detail_chapter(numbers.macro, rows, found.tested, published("base_detail")),
        "base_only": base_only_chapter(numbers.base_only, found.base_only, numbers.five, rows, labels),
        "colour_shift": colour_chapter(summary, numbers.base_only, rows, labels),
        "distribution": distribution_chapter(found.distribution, rows, labels, published("distribution")),
        "differences": differences_chapter(numbers.differences, rows, labels),
        "failures": failures_chapter(numbers.failures, upscalers, rows, images),
        "diagnostics": diagnostics_chapter(summary, numbers.differences, rows, labels, published("diagnostic")),
        "repeats": repeats_chapter(summary, rows, labels),
        "benchmark": benchmark_chapter(summary, found.benchmark.absent, rows, labels, remarks),
        "runtime": runtime_chapter(found.runtime, rows, published("runtime")),
        "training_cost": training_cost_chapter(found.costs, found.published_costs, rows, scales),
        "learning_rates": learning_rates_chapter(found.searches),
        "published": published_chapter(found.published, found.benchmark.sets, scales),
        "probe": probe_chapter(found.probe, scales, trained, published("probe")),
        "cuts": cuts_chapter(params, numbers.first, found.trained.cut, found.probed, found.runtime, rows),
        "data": data_chapter(found.sets, found.leakage),
    }


def write_chapter(folder: Path, name: str, chapter: Chapter) -> None:
    """A chapter as CSV, Markdown and LaTeX."""
    tables.write_csv(folder / f"{name}.csv", chapter.frame)
    write_text(folder / f"{name}.md", chapter.markdown())
    write_text(folder / f"{name}.tex", chapter_latex(chapter))


def make_content(
    params: Params,
    results: ReportInputs,
    found: Found,
    numbers: Numbers,
    chapters: Mapping[str, Chapter],
    output: Path,
) -> Content:
    """What stands on the page; figures are drawn below `output` on the way."""
    cut, protocol = found.trained.cut, params.benchmark.protocols[0]
    figures, scales = draw_all(params, results, found, numbers.summary, numbers.gains, output)
    notes = {
        "probe": probe_note(params, found.selected),
        "cost": cost_line(read_json(results.train_runtime)),
    }
    probed = runtime_sheet(found.probe_runtime, found.probe)
    return Content(
        experiment=params.experiment,
        scales=scales,
        protocol=protocol,
        cut=f"{cut} ({found.probe.set_index('cut').loc[cut, 'stage']})",
        warning=found.leakage.sentence if found.leakage.matches else "",
        sections=sections(chapters, figures, scales, notes, probed),
        image_tables=image_tables(found, protocol, params.scales),
        labels=found.labels,
    )
