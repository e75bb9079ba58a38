# Everything here makes what it needs; `make` alone lists it.
SHELL := bash
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

# Python keeps what it compiled, or every command pays a second for it.
unexport PYTHONDONTWRITEBYTECODE

export DAGSTER_HOME := $(CURDIR)
export INTEL_DAGSTER_STORAGE ?= $(CURDIR)/data/state/dagster

.PHONY: help setup run ui test test-slow test-all check lock audit bench clean

help: ## list what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 18

setup: $(READY) ## make .venv with everything pinned in requirements.lock

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 3; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@awk '/^uv==/ {on=1} on {print} on && !/\\$$/ && !/^uv==/ {exit}' requirements.lock > .venv/uv.lock
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r .venv/uv.lock
	@$(BIN)/uv pip install -q --python $(BIN)/python --require-hashes -r requirements.lock
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .
	@$(BIN)/python -c "from intel_assets.lakehouse.extensions import install; install()"
	@touch $@

run: setup ## fetch the last 30 days of every source and show what came
	@$(BIN)/intel run
	@echo
	@echo "Three things to try next:"
	@echo "  $(BIN)/intel sql \"SELECT day, urls, hosts, online, top_tag FROM aggregated.urlhaus_daily ORDER BY day DESC LIMIT 7\""
	@echo "  make ui                       the assets, their checks and row counts, at http://127.0.0.1:3000"
	@echo "  cp .env.example .env          put your keys in, set INTEL_MODE=live, and run it again"

ui: setup ## open Dagster on this lake, at http://127.0.0.1:3000
	@$(BIN)/intel ui $(if $(PORT),--port $(PORT))

test: setup ## run the tests (under 5 minutes)
	@$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadgroup --cov --cov-report= --cov-fail-under=0

check: setup ## style, types, arrows, definitions, slow tests and coverage
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/dg check defs
	$(BIN)/dagster definitions validate -w workspace.yaml
	$(MAKE) test-slow
	$(BIN)/coverage report

test-slow: setup ## the tests that take longer; at the end those that want the machine for themselves
	@$(BIN)/python -m pytest -m "slow and not alone" -n 2 --dist loadgroup --cov --cov-append --cov-report= --cov-fail-under=0
	@$(BIN)/python -m pytest -m alone --cov --cov-append --cov-report= --cov-fail-under=0

test-all: test test-slow ## all tests

bench: setup ## measure against the bounds; results go to benchmarks/results
	@$(BIN)/python -m benchmarks

lock: ## write requirements.lock anew from requirements-dev.in
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --custom-compile-command "make lock" -o requirements.lock requirements-dev.in

audit: setup ## look for known vulnerabilities, where an advisory source can be reached
	@$(BIN)/pip-audit --require-hashes --disable-pip -r requirements.lock || { code=$$?; echo "pip-audit found something, or could reach no advisory source (see above)."; exit $$code; }

clean: ## remove the environment and what tests leave; the lake stays
	@rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage* *.egg-info
