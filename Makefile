# The two commands of the README: `make workbook` and `make test`. Each one sets up what it needs.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

# `make lowest` takes the oldest Python too: the oldest packages have wheels for it, and not for newer ones.
OLDEST_PYTHON ?= python3.11
LOWEST        ?= .venv-lowest

.PHONY: workbook test lowest fuzz lab results figures site browser kill lint clean

workbook: $(READY)  ## run all notebooks on the offline default: outputs in notebooks/, figures in figures/
	$(BIN)/python -m adapters_lib workbook

test: $(READY)  ## lint, types and tests, the notebooks in their small setting included
	$(BIN)/ruff check .
	$(BIN)/mypy adapters_lib
	$(BIN)/python -m pytest -q -n auto

lowest: $(LOWEST)/.ready  ## the tests with the lowest versions that pyproject.toml allows, in an environment of its own
	$(LOWEST)/bin/python -m pytest -q -n auto

fuzz: $(READY)  ## random inputs of every kind: 10,000 or 20 minutes, whichever comes first; a table, and every fault with its number
	PYTHONPATH=tests $(BIN)/python -m fuzz

lab: $(READY)  ## open JupyterLab on the notebooks; kernels take the cores that there are for them
	env $$($(BIN)/python -m adapters_lib threads) $(BIN)/jupyter lab --notebook-dir=notebooks

results: $(READY)  ## say what the grids behind data/results/ still lack and how long it takes, then run it: days on two cores, resumable
	$(BIN)/python -m adapters_lib results list
	$(BIN)/python -m adapters_lib results run

figures: $(READY)  ## redraw the paper-style figures from the tables, without training
	$(BIN)/python -m adapters_lib figures

site: $(READY)  ## the reference to read, with the executed notebooks and a search that needs no network: build/site/index.html
	$(BIN)/python -m pip install --quiet -e ".[site]"
	$(BIN)/python -m adapters_lib site

browser: $(READY)  ## run every notebook in JupyterLab and operate its widgets; needs Chromium; screenshots in build/screenshots
	$(BIN)/python -m pip install --quiet -e ".[browser]"
	$(BIN)/python -m pytest -q -n 0 tests/browser

kill: $(READY)  ## 100 processes that train, fill tables, pre-train or cache are killed and go on: no bit and no row may differ
	$(BIN)/python tests/kill_campaign.py --kills 100

lint: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/mypy adapters_lib

clean:
	rm -rf $(VENV) $(LOWEST) runs build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; choose one with make PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e ".[lab,test]"
	touch $@

$(LOWEST)/.ready: pyproject.toml
	@$(OLDEST_PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "Python 3.11 is needed; give it with make lowest OLDEST_PYTHON=..."; exit 1; }
	$(OLDEST_PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --upgrade pip uv
	$(LOWEST)/bin/python -m uv pip install --quiet --python $(LOWEST)/bin/python --upgrade --resolution lowest-direct -e ".[lab,test]"
	touch $@
