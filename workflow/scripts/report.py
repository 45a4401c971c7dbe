"""Tables, figures and the page."""

from pathlib import Path

from job import start

from fsr.report import ReportInputs, build_report
from fsr.report.metrics import write_metrics

params = start(snakemake)
SEVERAL = ("benchmarks", "datasets", "base_only", "searches")
ONE = ("leakage", "leakage_grid", "published", "probe", "probe_runtime", "probe_grid", "selected_cut", "distribution")
ONE += ("runtime", "training_costs", "train_log", "train_grid", "train_runtime", "trained_cut")
rivals = zip(snakemake.params.models, snakemake.input.rivals, strict=True)
inputs = ReportInputs(
    pictures=Path(snakemake.params.pictures),
    rivals={model: Path(file) for model, file in rivals},
    **{name: tuple(Path(file) for file in snakemake.input[name]) for name in SEVERAL},
    **{name: Path(snakemake.input[name]) for name in ONE},
)
output = Path(snakemake.output.page).parent
build_report(params, inputs, output)
write_metrics(output / "tables/primary.csv", inputs.train_log, Path(snakemake.output.metrics))
