PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt
SHORT := runs/short
KEPT := --runs $(SHORT)/runs --results $(SHORT)/results --weights $(SHORT)/weights

.PHONY: help run test lint lint-page docs wheel reproduce report gallery bench peers clean

help:  ## What can be made
	@sed -n 's/^\([a-z-]*\):.*  ## /\1\t/p' Makefile | expand -t 12

run: $(VENV)/installed  ## The whole main job in its short form
	rm -rf $(SHORT)
	$(BIN)/convlens reproduce quick --time 90s $(KEPT)
	$(BIN)/convlens reproduce lenet5 --time 30s $(KEPT)
	$(BIN)/convlens reproduce resnet18 --time 80s $(KEPT)
	$(BIN)/convlens look $(SHORT)/weights/quick.safetensors --out $(SHORT)/looks
	$(BIN)/convlens report --results $(SHORT)/results --weights $(SHORT)/weights --out $(SHORT)
	@echo "done: notebook, HTML and PDF are $(SHORT)/assignment2.*, pictures are in $(SHORT)/looks and $(SHORT)/results"

test: lint  ## Lints, then tests, four at a time, for some wait
	$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/installed-test lint-page  ## Style, types, and which part imports which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

# Biome formats and lints the explorer's page; without npm this is skipped, but not in CI.
lint-page:
	@if command -v npm >/dev/null; then \
	  $(MAKE) --no-print-directory node_modules/.installed && npm run --silent lint; \
	elif [ "$$CI" = true ]; then \
	  echo "lint-page: npm is missing, and CI needs it" >&2; exit 1; \
	else \
	  echo "lint-page: skipped, for npm is not installed; the explorer's page goes unlinted"; \
	fi

docs: $(VENV)/installed-docs  ## The documentation, in build/site/; a warning is an error
	$(BIN)/zensical build --clean --strict

wheel: $(VENV)/installed-test  ## The package to hand over, in dist/
	$(BIN)/python -m build --wheel --no-isolation

reproduce: $(VENV)/installed  ## Trains all that the README quotes; goes on where it was cut
	$(BIN)/convlens reproduce
	$(BIN)/python docs/results.py
	$(BIN)/convlens report

report: $(VENV)/installed  ## The notebook with its HTML and PDF, from results/ and weights/
	$(BIN)/convlens report

gallery: $(VENV)/installed-test  ## The pictures of docs/gallery.md and README, from weights/convnet.safetensors
	$(BIN)/python docs/gallery.py
	$(BIN)/python docs/moving.py

bench: $(VENV)/installed  ## Ours against the loops people write today; needs a quiet machine
	$(BIN)/convlens bench --long

peers:  ## The environment of the peers in benchmarks/datasets.py, in build/peers (6 GB)
	$(PYTHON) -m venv build/peers
	build/peers/bin/pip install --quiet --disable-pip-version-check -r benchmarks/datasets_peers/requirements.txt

clean:  ## Removes what was installed, built and made in short form
	rm -rf $(VENV) $(SHORT) node_modules build dist

$(VENV)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "ConvLens needs Python 3.11 or newer; name one with make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch==2.13.0
	touch $@

$(VENV)/installed: $(VENV)/python pyproject.toml constraints.txt
	$(PIP) -e '.[all]'
	touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(PIP) -e '.[test,development]'
	touch $@

$(VENV)/installed-docs: $(VENV)/installed
	$(PIP) -e '.[docs]'
	touch $@

node_modules/.installed: package.json package-lock.json .npmrc
	npm ci --ignore-scripts --no-audit --no-fund
	touch $@
