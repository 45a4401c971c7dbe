# Two set-up commands: `make study` runs the default study, `make test` the tests. Both create .venv with pip alone.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CORES ?= 1

.PHONY: study test lint tiny smoke readme pull clean

# The packages are installed once, and again when what is asked for changes.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "FSR needs Python 3.11 or newer; set PYTHON")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[study,test]'
	touch $@

study: $(VENV)/.installed
	$(BIN)/snakemake --cores $(CORES) all

test: $(VENV)/.installed
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.installed
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow/rules
	$(BIN)/snakemake --lint

tiny: $(VENV)/.installed
	$(BIN)/snakemake --directory tests/tiny --cores $(CORES) all

# Every method on a real autoencoder and real benchmarks, at a budget of minutes.
smoke: $(VENV)/.installed
	$(BIN)/snakemake --cores $(CORES) all --configfile experiments/smoke.yaml

# The generated parts of README.md, from the embedded study's results.
readme: study
	$(BIN)/fsr readme README.md results results/embedded/report/tables/primary.md
	$(BIN)/fsr readme README.md probe results/embedded/report/tables/probe.md
	$(BIN)/fsr readme docs/training.md ablation results/ablation/ablation/ablation.md
	{ echo '```mermaid'; $(BIN)/snakemake --rulegraph mermaid-js all 2>/dev/null | sed '/^---$$/,/^---$$/d; /style /d'; echo '```'; } > .cache/rulegraph.md
	$(BIN)/fsr readme README.md rulegraph .cache/rulegraph.md

# After a clone: results without computing them. Snakemake learns that what was pulled is up to date.
pull: $(VENV)/.installed
	$(BIN)/dvc pull && $(BIN)/dvc status --quiet && $(BIN)/snakemake --touch --forceall --cores 1 all

# Everything the studies made and git ignores; DVC's cache stays (dvc gc clears that).
clean:
	git clean -fdXq -- .cache data results tests/tiny
