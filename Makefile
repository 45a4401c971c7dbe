# Two set-up commands: `make study` runs the default study, `make test` the tests. Both create .venv with pip alone.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CORES ?= 1

.PHONY: study test lint tiny smoke published readme texts adopt push pull settle stages clean

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

# The readers' copy of a study's tables and charts, which git keeps. Photographs only of sets that may be given to others;
# tables of single images of the other sets are megabytes, which the study makes again.
STUDY ?= taef2
PUBLISHED = results/$(STUDY)/published
PUBLIC = $(wildcard results/$(STUDY)/pictures/public)
published:
	rm -rf $(PUBLISHED) && mkdir -p $(PUBLISHED)/figures
	cp -r results/$(STUDY)/report/machine results/$(STUDY)/report/tables $(PUBLISHED)
	cp $(addprefix results/$(STUDY)/report/figures/,$(if $(PUBLIC),*,psnr*.png training.png probe.png)) $(PUBLISHED)/figures
	cp results/$(STUDY)/report/provenance.json $(PUBLISHED)
	$(if $(PUBLIC),,rm $(PUBLISHED)/tables/per_image*.csv)
	$(if $(filter taef2,$(STUDY)),$(BIN)/fsr publish results/$(STUDY) -o $(PUBLISHED)/field)

# The generated parts of README.md and docs/, and the field that the package carries, from the embedded study's results.
readme: study
	$(MAKE) published STUDY=embedded
	$(BIN)/fsr publish results/embedded -o src/fsr/flow/embedded
	$(MAKE) texts
	{ echo '```mermaid'; $(BIN)/snakemake --rulegraph mermaid-js all 2>/dev/null | sed '/^---$$/,/^---$$/d; /style /d'; echo '```'; } > .cache/rulegraph.md
	$(BIN)/fsr readme docs/workflow.md rulegraph .cache/rulegraph.md

# The tables in the texts, from what is published: text, name of the block, file.
texts: $(VENV)/.installed
	while read -r text block table; do $(BIN)/fsr readme "$$text" "$$block" "$$table" || exit 1; done < docs/tables.txt

# Snakemake and DVC together (workflow/exchange.py). adopt: what plain Snakemake made, into DVC. push: to the remote, without
# images that may not be given to others. pull: after a clone, results without computing them. settle: after dvc checkout.
adopt push pull settle: $(VENV)/.installed
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python workflow/exchange.py $@ $(if $(filter adopt,$@),--cores $(CORES))

# The code that dvc.yaml names as dependencies, from what the rules say.
stages: $(VENV)/.installed
	$(BIN)/python workflow/stages.py

# Everything the studies made and git ignores, so not results/*/metrics.json; DVC's cache stays (dvc gc clears that).
clean:
	git clean -fdXq -- .cache data results tests/tiny
