# `make run` does the whole main job in its short form; `make test` runs the tests.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SHORT := runs/short

.PHONY: run test reproduce report gallery bench clean

run: $(VENV)/installed
	rm -rf $(SHORT)
	$(BIN)/convlens reproduce --epochs 3 --images 2000 --runs $(SHORT)/runs --results $(SHORT)/results --weights $(SHORT)/weights
	$(BIN)/convlens look $(SHORT)/weights/convnet.safetensors --out $(SHORT)/looks
	$(BIN)/convlens report --results $(SHORT)/results --weights $(SHORT)/weights --out $(SHORT)
	@echo "done: notebook, HTML and PDF are $(SHORT)/assignment2.*, pictures are in $(SHORT)/looks and $(SHORT)/results"

test: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/python -m pytest -n 2 --dist loadfile

# Trains everything that the README quotes (see --help for more seeds); continues where it was cut.
reproduce: $(VENV)/installed
	$(BIN)/convlens reproduce
	$(BIN)/convlens report

report: $(VENV)/installed
	$(BIN)/convlens report

# The pictures of docs/gallery.md, anew from weights/convnet.safetensors.
gallery: $(VENV)/installed
	$(BIN)/python docs/gallery.py

# Ours against the loops people write today; needs a quiet machine.
bench: $(VENV)/installed
	$(BIN)/convlens bench --long

clean:
	rm -rf $(VENV) $(SHORT)

$(VENV)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "ConvLens needs Python 3.11 or newer; name one with make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch==2.13.0
	touch $@

$(VENV)/installed: $(VENV)/python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all]'
	touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	touch $@
