# make run   set up, run configs/demo.yaml, say where the report is
# make test  set up, lint, types, the suite; test-cluster: what needs several nodes, an S3 server, or kills, by the minute
# make bench speed and scale as ratios, in a table and bench.json; bench-quick: under three minutes on two quiet cores;
#            bench-peers: against anomalib, which it installs into a temporary environment
# All need Python 3.11+ with pip and nothing else; all they install goes into .venv.

SHELL := /bin/sh
PYTHON ?=
BIN := .venv/bin

.PHONY: run test test-cluster lint type-check format bench bench-quick bench-peers
.DEFAULT_GOAL := run

run: .venv/.installed-run
	$(BIN)/swag-ray run configs/demo.yaml
	@echo "The report: $(CURDIR)/runs/demo/report.html"

# Two files at a time, each worker with a local Ray of its own.
test: lint type-check
	$(BIN)/python -m pytest -m "not cluster" -n 2 --dist loadfile --no-loadscope-reorder

test-cluster: .venv/.installed-test
	$(BIN)/python -m pytest -m cluster

lint: .venv/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache --no-logo

type-check: .venv/.installed-test
	$(BIN)/mypy

format: .venv/.installed-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/.installed-test
	$(BIN)/python -m tests.benchmarks

bench-quick: .venv/.installed-test
	$(BIN)/python -m tests.benchmarks --quick

bench-peers: .venv/.installed-test
	$(BIN)/python -m tests.benchmarks --only peers

# A stamp is written last, so an interrupted installation is gone through again.
.venv/.installed-run: pyproject.toml | $(BIN)/pip
	@echo "Installing swag-ray into .venv (PyTorch and Ray: some GB the first time)"
	$(BIN)/python -m pip install -e .
	@touch $@

.venv/.installed-test: pyproject.toml | $(BIN)/pip
	@echo "Installing swag-ray and its tests into .venv (PyTorch and Ray: some GB the first time)"
	$(BIN)/python -m pip install -e ".[test,dev]"
	@touch $@ .venv/.installed-run

# The first of these that really starts and is new enough; a version manager's shim may exist and not start.
# Some distributions ship venv without ensurepip: then this Python's own pip installs pip.
CANDIDATES := $(or $(PYTHON),python3.11 python3.12 python3.13 python3 python)
$(BIN)/pip:
	@for python in $(CANDIDATES); do \
	    "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue; \
	    echo "Making .venv with $$("$$python" --version)"; \
	    "$$python" -m venv .venv >/dev/null 2>&1 && exit 0; \
	    "$$python" -m venv --without-pip .venv && \
	    "$$python" -m pip --python $(BIN)/python install --quiet pip && exit 0; \
	done; \
	echo "swag-ray needs Python 3.11 or newer with pip, and none of these is: $(CANDIDATES)." \
	     "Install one, or name it: make $(or $(MAKECMDGOALS),run) PYTHON=/path/to/python3" >&2; exit 1
