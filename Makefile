# ikegate: `make run` serves, `make test` tests; both set up what they need first. See README.md.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
LAB := kernel or interop or browser

SEEDS ?= 0:20000
# Tests run in a shuffled order that is the same each time: a verdict is no matter of dice. Another: ORDER=$RANDOM.
ORDER ?= 1
TESTS := $(BIN)/python -m pytest --dist loadfile --continue-on-collection-errors --randomly-seed=$(ORDER)
# The lab's tests wait for peers more than they compute.
LAB_WORKERS ?= $(shell echo $$(($$(nproc) < 3 ? $$(nproc) + 1 : 4)))

.PHONY: help run test soak lab lint demo bench fuzz floods lock clean development

help:
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 16

run: $(VENV)/.runtime ## set up and serve: the console on port 8443, IKE on 500 and 4500 (root)
	exec $(BIN)/ikegate serve

demo: $(VENV)/.runtime ## two gateways and a tunnel between them on this machine (root)
	exec $(BIN)/ikegate demo

test: development lab ## set up and run all tests; what this machine cannot test is named at the end
	@failed=0; \
	$(TESTS) -n auto -m "not ($(LAB))" || failed=1; \
	$(BIN)/python -m tests.simulation.exploration $(SEEDS) || failed=1; \
	$(TESTS) -n $(LAB_WORKERS) -m "$(LAB)" || failed=1; \
	exit $$failed

soak: development ## explore bad networks by their seeds on all processors, SEEDS=FIRST:LAST
	exec $(BIN)/python -m tests.simulation.exploration $(SEEDS)

lint: development ## ruff, mypy --strict, the import rules
	@failed=0; \
	$(BIN)/ruff check || failed=1; \
	$(BIN)/ruff format --check || failed=1; \
	$(BIN)/mypy --strict || failed=1; \
	$(BIN)/lint-imports || failed=1; \
	exit $$failed

bench: development ## measure, and print the figures
	exec $(BIN)/python -m benchmarks

fuzz: development ## look for what breaks the engine, by seeds and by coverage, FUZZ_SECONDS long (600)
	export FUZZ_SECONDS=$$(($${FUZZ_SECONDS:-600} / 2)); \
	$(BIN)/python -W error -m tests.hostile.fuzz && exec $(BIN)/python -m tests.hostile.guided

floods: development ## ten minutes of floods while honest peers connect; fails when memory grows
	exec $(BIN)/python -m benchmarks.soak

lock: ## make the lock files again with the newest releases (needs uv)
	uv pip compile $(LOCK) --upgrade pyproject.toml -o requirements.lock
	uv pip compile $(LOCK) --upgrade --group build -c requirements.lock -o requirements-build.lock
	uv pip compile $(LOCK) --upgrade pyproject.toml --group dev -c requirements.lock -c requirements-build.lock -o requirements-dev.lock

LOCK := --quiet --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11

clean: ## remove what make made, not the gateway's data in var/
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# The stamps below make a repeated run instant; each is made again when its lock file changes.

development: $(VENV)/.development

$(BIN)/python:
	@PYTHON=$(PYTHON) bash .ci/make-venv $(VENV)

$(VENV)/.runtime: requirements.lock requirements-build.lock pyproject.toml | $(BIN)/python
	$(PIP) install --quiet --require-hashes -r requirements.lock -r requirements-build.lock
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.development: requirements-dev.lock $(VENV)/.runtime
	$(PIP) install --quiet --require-hashes -r requirements-dev.lock
	@touch $@

# Not stamped when something could not be installed: the next run tries, and says so, again.
lab: | $(BIN)/python
	@[ -e $(VENV)/.lab -a $(VENV)/.lab -nt tests/lab/install-packages -a $(VENV)/.lab -nt tests/lab/kernel.config ] || \
		{ bash tests/lab/install-packages && touch $(VENV)/.lab; } || true
