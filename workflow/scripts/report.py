"""Tables, figures and the page."""

from pathlib import Path

from job import start

from fsr.report import ReportInputs, build_report

params = start(snakemake)
ONE_FILE_EACH = ("probe", "probe_runtime", "probe_grid", "selected_cut", "train_log", "train_grid", "train_runtime")
inputs = ReportInputs(
    benchmarks=tuple(Path(file) for file in snakemake.input.benchmarks),
    pictures=Path(snakemake.params.pictures),
    **{name: Path(snakemake.input[name]) for name in ONE_FILE_EACH},
)
build_report(params, inputs, Path(snakemake.output.page).parent)
