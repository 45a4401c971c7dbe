"""Report: tables, figures and the page."""

REPORT = f"{RESULTS}/report"
SUFFIXES = ["", *(f"_x{scale}" for scale in PARAMS.scales[1:])]  # of figures, one a scale
SHEETS = [
    "headline",
    "benchmark",
    "primary",
    "contextual",
    "base_detail",
    "base_only",
    "distribution",
    "differences",
    "failures",
]
SHEETS += ["colour_shift", "diagnostics", "learning_rates", "published", "probe", "repeats", "data"]
TABLES = [f"{name}.{suffix}" for name in SHEETS for suffix in ("csv", "md", "tex")]
CHARTED = ["runtime", "training_cost"]
MACHINE = [*CHARTED, "cuts"]  # what differs from machine to machine


rule build_report:
    input:
        benchmarks=expand(rules.benchmark_set.output.table, mode="", scale=PARAMS.scales, set=PARAMS.data.test),
        base_only=expand(
            rules.benchmark_set.output.table, mode=BASE_ONLY, scale=PARAMS.scales, set=PARAMS.data.base_only
        ),
        row_pictures=of_every_set(rules.benchmark_set.output.pictures),
        distribution=rules.distribution.output.table,
        runtime=rules.measure_runtime.output.table,
        datasets=raw(PARAMS.data.learning + PARAMS.data.held_back),
        leakage=rules.leakage.output.report,
        leakage_grid=rules.leakage.output.picture,
        published=from_here(ROOT / "data/published.csv")[0],
        training_costs=from_here(ROOT / "data/training_costs.csv")[0],
        probe=rules.select_cut.output.table,
        probe_runtime=rules.select_cut.output.runtime,
        probe_grid=rules.select_cut.output.grid,
        selected_cut=rules.select_cut.output.selection,
        train_log=rules.train_field.output.log,
        train_grid=rules.train_field.output.grid,
        train_runtime=rules.train_field.output.runtime,
        trained_cut=rules.train_field.output.cut,
        field=rules.train_field.output.config,
        rivals=expand(rules.train_rival.output.runtime, model=TRAINED),
        searches=expand(rules.search_rate.output.search, method=SEARCHED),
        templates=from_here(*sorted((SRC / "report/templates").iterdir())),
        code=code("report", "report.metrics"),
    output:
        page=f"{REPORT}/index.html",
        metrics=f"{RESULTS}/metrics.json",
        provenance=f"{REPORT}/provenance.json",
        tables=expand(f"{REPORT}/tables/{{name}}", name=[*TABLES, "per_image.csv", "per_image_base_only.csv"]),
        machine=expand(f"{REPORT}/machine/{{name}}.{{suffix}}", name=MACHINE, suffix=["csv", "md", "tex"]),
        charts=report(
            expand(f"{REPORT}/machine/{{name}}.png", name=CHARTED), caption="../report/figure.rst", category="Cost"
        ),
        figures=report(
            [f"{REPORT}/figures/{name}.png" for name in ("training", "probe")]
            + expand(
                f"{REPORT}/figures/{{name}}{{suffix}}.png",
                name=["psnr", "zooms", "representative", "trend", "visual_five"],
                suffix=SUFFIXES,
            ),
            caption="../report/figure.rst",
            category="Figures",
        ),
        contact_sheets=report(
            expand(f"{REPORT}/figures/contact_sheet_{{set}}{{suffix}}.png", set=PARAMS.data.test, suffix=SUFFIXES),
            caption="../report/contact_sheet.rst",
            category="Figures",
        ),
    log:
        f"{LOGS}/build_report.log",
    benchmark:
        f"{LOGS}/build_report.benchmark.tsv"
    conda:
        "../envs/fsr.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
    params:
        **sections("experiment", "seed", "scales", "rivals", "benchmark", "report"),
        models=list(TRAINED),
        pictures=lambda wildcards, input: str(Path(input.row_pictures[0]).parents[1]),  # <pictures>/x2/<set>
    script:
        "../scripts/report.py"


rule report:
    input:
        rules.build_report.output.page,
    localrule: True
