# Each of `make demo` and `make test` sets up all that it needs, from git, make and Python 3.11 on.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help setup demo test lint fuzz format clean

help:
	@echo "make demo    set up, then pictures to report on synthetic radiographs (demo/report.html)"
	@echo "make test    set up, then all that CI runs: lint, types, layers, tests with coverage"
	@echo "make fuzz    20,000 damaged inputs through every reader"
	@echo "make lint    ruff, mypy and import-linter alone"
	@echo "make setup   .venv with Hilum and everything that training and development need"

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Hilum needs Python 3.11 or newer; name one with make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[train,tune,export,parquet,fetch,dev]'
	@touch $@

setup: $(STAMP)

demo: $(STAMP)
	rm -rf demo
	$(BIN)/hilum demo --out demo

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	rm -f .coverage .coverage.*
	$(BIN)/pytest --cov --cov-report=term --cov-fail-under=85

fuzz: $(STAMP)
	$(BIN)/python -m tests.fuzz 20000

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) demo dist build .coverage* .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
