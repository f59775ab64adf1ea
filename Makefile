# GNU make. Everything that is installed lands in .venv; `make clean` removes it.

PORT ?= 8501
VENV := .venv
PYTHON := $(VENV)/bin/python
PIP := $(PYTHON) -m pip --disable-pip-version-check --quiet --quiet
# Stamps live inside the environment, so that they vanish with it.
RUN_READY := $(VENV)/.ready-to-run
TEST_READY := $(VENV)/.ready-to-test

.DEFAULT_GOAL := help
.PHONY: help run test bench load fuzz fit format browser clean
.SHELLFLAGS := -eu -c
MAKEFLAGS += --no-print-directory

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 10

run: $(RUN_READY) ## start the app on http://127.0.0.1:8501 (PORT=... changes it)
	@echo "cpi_model: http://127.0.0.1:$(PORT)   (Ctrl-C stops it)"
	@exec $(PYTHON) -m streamlit run app.py \
	    --server.address 127.0.0.1 --server.port $(PORT) --server.headless true

test: $(TEST_READY) browser ## everything that must pass: lint, format, types, imports, tests
	@echo "ruff check"; $(PYTHON) -m ruff check --quiet .
	@echo "ruff format"; $(PYTHON) -m ruff format --check --quiet . \
	    || { echo "not formatted; 'make format' does it:"; $(PYTHON) -m ruff format --check . ; }
	@echo "mypy --strict"; $(PYTHON) -m mypy --strict --no-error-summary
	@echo "import-linter"; $(VENV)/bin/lint-imports --no-logo >$(VENV)/imports.log 2>&1 \
	    || { cat $(VENV)/imports.log; exit 1; }
	@echo "pytest"; $(PYTHON) -m pytest -q -n 2 --dist worksteal

bench: $(TEST_READY) browser ## measure speed and memory, one JSON line a figure
	@$(PYTHON) -m bench.run

load: $(TEST_READY) ## twenty people at once, on a quiet machine: server time, errors, memory
	@$(PYTHON) -m bench.load

fuzz: $(TEST_READY) ## 20,000 malformed links and 2,000 malformed files: none raises, none is slow
	@$(PYTHON) -m bench.fuzz

fit: $(RUN_READY) ## fit the coefficients again: make fit POINTS="measured.csv more.csv"
	@test -n "$(POINTS)" || { echo 'name the measurements: make fit POINTS=points.csv' >&2; exit 2; }
	@$(PYTHON) -m cpi_model.studies.calibrate $(POINTS)
	@$(PYTHON) -m cpi_model.studies.accuracy

format: $(TEST_READY) ## put the code into the form that the tests ask for
	@$(PYTHON) -m ruff check --quiet --fix . || true
	@$(PYTHON) -m ruff format .

browser:
	@.ci/chromium

clean: ## remove the environment, caches and built packages
	@rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis \
	    .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Installing -------------------------------------------------------------------------------------

$(PYTHON):
	@.ci/environment $(VENV)

# hatchling comes first because the package is built with it, at the version of constraints.txt.
$(RUN_READY): pyproject.toml constraints.txt | $(PYTHON)
	@echo "installing what the app needs ..."
	@$(PIP) install --constraint constraints.txt hatchling editables
	@$(PIP) install --constraint constraints.txt --no-build-isolation --editable .
	@touch $@

$(TEST_READY): $(RUN_READY)
	@echo "installing what the tests need ..."
	@$(PIP) install --constraint constraints.txt --no-build-isolation --editable ".[test]"
	@touch $@
