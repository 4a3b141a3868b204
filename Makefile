# Everything a contributor runs. `make` alone lists the targets.

SHELL := bash
PYTHON ?= python3
PY := .venv/bin/python
BIN := .venv/bin
STAMP := .venv/.holdfast-setup
MANIFESTS := pyproject.toml sdk/python/pyproject.toml server/pyproject.toml tui/pyproject.toml
PIP := $(PY) -m pip install --disable-pip-version-check --no-input --progress-bar off --constraint constraints.txt

# Switches, given on the command line: they reach the programs by the environment.
#   JSON=1              bench, bench-quick: one JSON line per workload instead of tables
#   DEMO_DECISION=...   demo: approve or reject without asking
#   DEMO_KILL=1         demo: kill server and worker in the middle
#   CHAOS_CYCLES=500    chaos: how often to kill servers, workers and clients each
#   CHAOS_SEED=...      chaos, soak: repeat the choices of an earlier call
#   SOAK_MINUTES=5      soak: how long
#   FUZZ_SECONDS=60     fuzz: time of each entry; FUZZ="schema run" names some
#   TESTS=tests/unit    test: only these
export JSON DEMO_DECISION DEMO_KILL CHAOS_CYCLES CHAOS_SEED SOAK_MINUTES
TESTS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint type verify fmt generate bench bench-quick chaos soak fuzz

help: ## list the targets
	@[ -t 1 ] && bold=$$'\033[1m' plain=$$'\033[0m'; awk -F ':.*## ' -v bold="$$bold" -v plain="$$plain" \
	  '/^[a-z-]+:.*## / { printf "  %s%-12s%s %s\n", bold, $$1, plain, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## create .venv with everything in it (again only when a manifest changed)
	@echo "ready: .venv" >&2

# What setup has to say goes to stderr: `make bench-quick JSON=1` has an output for programs.
$(STAMP): $(MANIFESTS) constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Holdfast needs Python 3.11 or newer; '$(PYTHON)' is: $$($(PYTHON) --version 2>&1 || true)" >&2; \
	  echo "Install one and name it: make setup PYTHON=python3.12" >&2; exit 1; }
	@test -x $(PY) || { echo "setup 1/3: creating .venv" >&2; $(PYTHON) -m venv .venv >&2; } || { \
	  echo "Could not create .venv. On Debian and Ubuntu: apt-get install python3-venv" >&2; rm -rf .venv; exit 1; }
	@echo "setup 2/3: the installer and the build backend" >&2
	@$(PIP) --quiet pip hatchling editables >&2
	@echo "setup 3/3: Holdfast (editable), what it depends on, and the tools" >&2
	@$(PIP) --no-build-isolation --group dev --editable 'sdk/python[cli]' --editable server --editable tui \
	  | grep -E '^(Collecting|Successfully built)' >&2; test $${PIPESTATUS[0]} -eq 0
	@touch $@
	@echo "setup: done" >&2

demo: $(STAMP) ## the research report: server, worker, a gate, a published file (DEMO_DECISION, DEMO_KILL)
	@$(PY) -m examples.research_report.demo

test: $(STAMP) ## the whole test suite (TESTS=path for a part)
	@$(PY) -m pytest $(TESTS)

lint: $(STAMP) ## style, format, import contracts, contract style
	@echo "ruff check" && $(BIN)/ruff check --quiet
	@echo "ruff format" && $(BIN)/ruff format --check --quiet || { echo "not formatted: run 'make fmt'"; exit 1; }
	@echo "import contracts" && $(BIN)/lint-imports --no-logo
	@echo "buf lint" && $(BIN)/buf lint

type: $(STAMP) ## mypy, strict, over everything written by hand
	@$(BIN)/mypy

verify: $(STAMP) ## the contract: generated code is current, protos are clean, versions in lockstep, invariants hold
	@$(PY) proto/generate.py --check
	@echo "buf lint" && $(BIN)/buf lint
	@$(PY) -m pytest -q tests/architecture

fmt: $(STAMP) ## format and mend what can be mended by itself
	@$(BIN)/ruff check --fix --exit-zero --quiet
	@$(BIN)/ruff format
	@$(BIN)/buf format --write

generate: $(STAMP) ## Python code from proto/
	@$(PY) proto/generate.py

bench: $(STAMP) ## all workloads, full length (JSON=1 for programs)
	@$(PY) -m bench

bench-quick: $(STAMP) ## all workloads but the largest, within a minute (JSON=1 for programs)
	@$(PY) -m bench --quick

chaos: $(STAMP) ## kills, faults of network and disk, lost power, clocks that jump, and what came of it (CHAOS_CYCLES, CHAOS_SEED)
	@$(PY) -m tests.chaos

soak: $(STAMP) ## a mixed load for minutes: what grows (SOAK_MINUTES)
	@$(PY) -m tests.chaos soak

fuzz: export FUZZ_SECONDS ?= 20
fuzz: $(STAMP) ## hostile bytes to all that reads any, hostile calls to a server (FUZZ_SECONDS, FUZZ=entries)
	@$(PY) -m tests.fuzz $(FUZZ)
