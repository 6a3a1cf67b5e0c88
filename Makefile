# make run does everything for the main job, make test everything for the tests; both first create .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST = PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -n 2 --dist loadgroup

.PHONY: run test test-all soak lint types gpu-check record-check report-check clean-venv help

help:
	@echo "make run        the whole pipeline with params.yaml, then the result table"
	@echo "make test       lint, types, unit tests and the smoke tests: 3 to 5 minutes on two cores"
	@echo "make test-all   every test but the soak; make test-PART runs tests/PART: make test-dvc"
	@echo "make soak       long tests: kills at random moments, damage to every byte, fresh clones, ten times the property examples"
	@echo "make gpu-check  on a machine with a GPU, eight minutes: tests and benchmarks, with PYTHON's own packages"
	@echo "make record-check  on one GPU, 15 minutes: the record's model from text to its file, beside the forecast"
	@echo "make report-check  golf report's page of the last run in headless Chromium; NOT-RUN without one"

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "golf needs Python 3.11 or newer, $(PYTHON) is older; name another: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

run: $(READY)
	$(BIN)/python -m golf validate
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/dvc repro
	@$(BIN)/python -m golf results

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m tools.dvc_deps --check

types: $(READY)
	$(BIN)/mypy

test: lint types
	$(PYTEST) -m "not slow and not soak" tests/unit tests/smoke tests/gallery

test-all: lint types
	$(PYTEST) -m "not soak"

test-%: $(READY)
	$(PYTEST) -m "not soak" tests/$*

soak: export HYPOTHESIS_PROFILE := soak
soak: lint
	$(PYTEST) -m "soak or hypothesis"

gpu-check:
	@PYTHONPATH=. $(PYTHON) benchmarks/gpu_check.py

record-check:
	@PYTHONPATH=. $(PYTHON) benchmarks/record_check.py

report-check: $(READY)
	$(BIN)/python -m golf report --out artifacts/plots/report.html
	$(BIN)/python -m tools.report_check artifacts/plots/report.html

clean-venv:
	rm -rf $(VENV)
