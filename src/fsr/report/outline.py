"""The order of the page: which chapters and figures stand in which section."""

from collections.abc import Mapping, Sequence
from itertools import chain

from fsr.report.page import AtScale, Figure, Section
from fsr.report.sheets import Chapter, Sheet


def sections(
    chapters: Mapping[str, Chapter],
    figures: Mapping[str, Figure],
    scales: Sequence[AtScale],
    notes: Mapping[str, str],
    probe_runtime: Sheet,
) -> list[Section]:
    """The sections after the comparison of pictures.

    Args:
        chapters: as `make_chapters` names them.
        figures: training, validation, probe, probe_grid, runtime, training_cost; leakage, where it found any.
        notes: probe and cost, a sentence or two each.
        probe_runtime: what the probe measured on its machine.
    """
    pictures = chain.from_iterable((at.representative, at.trend, at.zooms, *at.contact_sheets) for at in scales)
    leakage = [figures["leakage"]] if "leakage" in figures else []
    training = (notes["cost"], figures["training"], figures["validation"], chapters["training_cost"])
    return [
        Section("primary", "Primary result", (chapters["headline"], chapters["primary"], *(at.psnr for at in scales))),
        Section("contextual", "Against the raw image", (chapters["contextual"],)),
        Section(
            "base", "Base and detail", (chapters["base_detail"], chapters["base_only"], *(at.compared for at in scales))
        ),
        Section("colour", "Colour shift", (chapters["colour_shift"],)),
        Section("distribution", "Distribution", (chapters["distribution"],)),
        Section("differences", "Paired differences", (chapters["differences"],)),
        Section("repeats", "Seeds", (chapters["repeats"],)),
        Section("failures", "Failures", (chapters["failures"],)),
        Section("zooms", "Zooms and contact sheets", tuple(pictures)),
        Section("diagnostics", "Diagnostics", (chapters["diagnostics"],)),
        Section("runtime", "Runtime", (chapters["runtime"], figures["runtime"])),
        Section("training", "Training", (*training, figures["training_cost"], chapters["learning_rates"])),
        Section(
            "probe",
            "Cut probe",
            (notes["probe"], chapters["probe"], figures["probe"], figures["probe_grid"], probe_runtime),
        ),
        Section("cuts", "Cuts, trained", (chapters["cuts"],)),
        Section("published", "Published numbers", (chapters["published"],)),
        Section("benchmark", "Every metric by set", (chapters["benchmark"],), folded=True),
        Section("data", "Data", (chapters["data"], *leakage)),
    ]
