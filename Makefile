# Two commands set everything up on a fresh machine with Python >= 3.11 and a connection to the package index:
#   make tour    train every kind of model on real digits and write one page that compares them
#   make test    the whole suite
# Another interpreter: make PYTHON=python3.12 test

SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

.PHONY: help install tour test test-slow results docs lint clean

help:  ## list what can be made
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:[^#]*## /\t/' | expand -t 12

install: .venv/.installed  ## the virtual environment .venv with likely in it

tour: .venv/.installed  ## train every kind of model on digits; a page at tour/index.html
	$(BIN)/likely tour

test: .venv/.installed-test  ## the whole suite
	$(PYTEST)

test-slow: .venv/.installed-test  ## the longer proofs; their last result is kept in recipes/slow-proofs.txt
	set -o pipefail; $(PYTEST) -m slow --timeout 3600 -v | tee recipes/slow-proofs.txt

results: .venv/.installed  ## RESULTS.md, from the run folders that recipes/ left under runs/ and the records of earlier ones
	$(BIN)/likely results runs --keep recipes/records --output RESULTS.md

docs: .venv/.installed-test  ## the documentation at docs/_build/html/index.html
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet docs docs/_build/html
	@echo "The documentation lies at docs/_build/html/index.html"

lint: .venv/.installed-test  ## style, types, and the direction of imports
	$(BIN)/ruff check src tests
	$(BIN)/ruff format --check src tests
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:  ## remove the environment, caches and built pages; runs/ and tour/ stay
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache dist build docs/_build
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "likely needs Python 3.11 or later; name one with: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv .venv

.venv/.installed: pyproject.toml constraints.txt | .venv/bin/python
	@echo "Installing likely and its pinned packages into .venv (once; some minutes) ..."
	$(PIP) --editable .
	@touch $@

.venv/.installed-test: .venv/.installed
	@echo "Installing what the tests need into .venv (once) ..."
	$(PIP) --editable '.[test]'
	@touch $@
