# Each target makes what it needs: on a fresh machine with Python 3.11+ and make, `make demo` or `make test` is the first command.

PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SEEDS ?= 2000
SEED ?=
MINUTES ?= 15
SOAK ?=
ONLY ?=
PYTEST := $(BIN)/python -m pytest -q

.DEFAULT_GOAL := help
.PHONY: help demo test lint types unit simulate lab chaos acceptance docs bench bench-rivals clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /  make \1#/p' $(MAKEFILE_LIST) | awk -F'#' '{ printf "%-20s %s\n", $$1, $$2 }'

# pip 25.1 is the first that installs dependency groups; older ones come with Python 3.11 and 3.12.
$(READY): pyproject.toml Makefile
	@test -n "$(PYTHON)" || { echo "mesh needs Python 3.11 or newer and found none; install one, or say: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) can't make virtual environments; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "== making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check 'pip>=25.1'
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --editable . --group dev
	@touch $@

demo: $(READY) ## three nodes, two workers, real work; the coordinator is killed half-way
	@$(BIN)/mesh demo

test: lint types simulate ## everything: lint, types, simulation, then every test (the lab as root)
	@echo "== tests"
	@mkdir -p build
	@$(PYTEST) --junitxml=build/tests.xml

lint: $(READY) ## ruff: rules and format
	@echo "== lint"
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check . || { echo "not formatted; mend with: $(BIN)/ruff format ." >&2; exit 1; }

# discovery/ and cli/ are mesh.discovery and mesh.cli only once installed, and mypy does not follow an editable install's mapping.
types: $(READY) ## mypy --strict on the package as it is installed
	@echo "== types"
	@rm -rf build/typed && mkdir -p build/typed
	@cp -r mesh discovery cli build/typed/ && mv build/typed/discovery build/typed/cli build/typed/mesh/
	@cd build/typed && ../../$(BIN)/mypy --config-file ../../pyproject.toml --cache-dir ../mypy_cache --no-error-summary -p mesh

unit: $(READY) ## the tests that take milliseconds, architecture included
	@$(PYTEST) tests/unit

simulate: $(READY) ## the real core under seeded faults: SEEDS=n, or SEED=s for one
	@echo "== simulation"
	@$(BIN)/python -m tests.simulation.run --seeds $(if $(SEED),1,$(SEEDS)) $(if $(SEED),--seed $(SEED))

lab: $(READY) ## several hosts as network namespaces on this machine; needs root
	@$(PYTEST) tests/lab

chaos: $(READY) ## faults with real processes, MINUTES=n, ONLY=1,5 for some, SOAK=1 for random ones; writes docs/reliability.md; needs root
	@$(BIN)/python -m tests.lab.chaos --minutes $(MINUTES) $(if $(ONLY),--only $(ONLY)) $(if $(SOAK),--soak)

acceptance: $(READY) ## the commands and examples as a user runs them, on loopback
	@$(PYTEST) tests/acceptance

docs: $(READY) ## write the generated pages, then check that the documents are true
	@for program in generate_cli generate_reference generate_protocol draw_architecture; do $(BIN)/python docs/$$program.py || exit 1; done
	@$(PYTEST) tests/unit/test_docs.py tests/acceptance/test_docs.py tests/acceptance/test_examples.py

bench: $(READY) ## the figures, as a table and as JSON in benchmarks/results
	@$(BIN)/python -m benchmarks.run

bench-rivals: $(READY) ## the same work by Celery, Dramatiq and pika; installs RabbitMQ, Redis (Debian) and .venv-rivals
	@benchmarks/rivals/install
	@$(BIN)/python -m benchmarks.run throughput rivals messages workflows

clean: ## remove what make made
	@rm -rf $(VENV) .venv-rivals build .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
