# make run: everything for the main job; make test: everything for the tests. Both make what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: run test soak gpu-check lint clean-venv help

help:
	@echo "make run   the whole pipeline with params.yaml, then the result table"
	@echo "make test  lint and the quick tests"
	@echo "make soak  what takes long: damage to every byte, kills, fresh clones"
	@echo "make gpu-check  on a machine with a GPU, eight minutes: tests and benchmarks, with PYTHON's own packages"

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "golf needs Python 3.11 or newer, $(PYTHON) is older; name another: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

run: $(READY)
	$(BIN)/python -m golf params
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/dvc repro
	@$(BIN)/python -m golf results

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m golf deps --check

test: lint
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -n 2 -m "not soak"

soak: lint
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -n 2 -m soak

gpu-check:
	@PYTHONPATH=. $(PYTHON) benchmarks/gpu_check.py

clean-venv:
	rm -rf $(VENV)
