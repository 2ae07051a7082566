# make demo and make test do everything from a fresh clone; `make help` lists the rest.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
INSTALLED := $(VENV)/installed

.DEFAULT_GOAL := help
.PHONY: help install demo dev test lint simulate mutants equality bench bench-plots clean

help:
	@echo "make demo     a tenant on this computer, its mail ingested, searched (about a minute)"
	@echo "make test     everything the project promises, proven"
	@echo "make dev      Dagster's UI on the project (MAILOVER_CONFIG says which tenant)"
	@echo "make lint     style, types, import contract"
	@echo "make simulate random histories of a mailbox, its runs and their failures"
	@echo "make mutants  faults put into the code, and how soon the simulation finds each"
	@echo "make equality  all real mail through every protocol (CORPUS=folder with MANIFEST.tsv)"
	@echo "make bench    every goal of speed and memory, beside mbsync, mu, notmuch and others (BENCH=--quick)"
	@echo "make bench-plots  what grows with mailboxes and messages, drawn into docs/"
	@echo "make install  everything into $(VENV), the mailover command among it"
	@echo "make clean    remove what these made"

install: $(INSTALLED)

$(INSTALLED): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	@sh tests/packages.sh venv $(PYTHON)
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --require-hashes --no-deps --no-compile -r requirements.lock
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

demo: install
	@$(BIN)/mailover demo

dev: install
	DAGSTER_HOME=$(CURDIR)/assets/instance/local $(BIN)/dagster dev --workspace workspace.yaml

test: install
	@sh tests/packages.sh servers
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

simulate: install
	$(BIN)/python -m tests.simulation

mutants: install
	$(BIN)/python -m tests.simulation --mutants

equality: install
	$(BIN)/python -m tests.equality --corpus "$(or $(CORPUS),$(MAILOVER_CORPUS))"

bench: install
	@sh tests/packages.sh servers peers
	$(BIN)/python -m benchmarks $(BENCH)

bench-plots: install
	$(BIN)/python -m benchmarks.curves docs

clean:
	rm -rf $(VENV) demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
