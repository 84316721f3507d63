# One way to do each task. `make` alone lists them.

# Tried in this order; name another one with `make PYTHON=/path/to/python3.12 …`.
PYTHON ?= python3 python3.13 python3.12 python3.11
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check

.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help run test lint bench fuzz chaos compose-test lock clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

run: $(VENV)/run.stamp ## aggregator and agent on this machine's pod logs, else on simulated ones; Ctrl-C stops
	@$(BIN)/python -m simulator demo

# Three at a time keep two processors busy, for much of the time a test waits for processes that it started.
test: lint ## every check and every test but those of chaos and compose-test
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/dev.stamp ## style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/dev.stamp ## measure cost, memory, disk and delay
	$(BIN)/python -m benchmarks

fuzz: $(VENV)/dev.stamp ## the tests by example with other examples than `make test` has; LOGBOOM_EXAMPLES=3000 has more of queries
	$(BIN)/python -m pytest -n 3 --hypothesis-profile fuzz -m "hypothesis and not chaos and not compose"

chaos: $(VENV)/dev.stamp ## minutes of random kills and cuts; the short form is part of `make test`
	$(BIN)/python -m pytest -m chaos tests/e2e

compose-test: $(VENV)/dev.stamp ## build the images, bring docker-compose.yml up, query it, bring it down (podman or docker)
	$(BIN)/python -m pytest -m compose tests/compose

# Made by the oldest Python supported, whose requirements hold for the newer ones too. The files name no index.
LOCK := build/lock/bin/pip-compile --quiet --generate-hashes --strip-extras --allow-unsafe --upgrade \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host
lock: ## resolve the dependencies of pyproject.toml anew into requirements/ (needs Python 3.11)
	python3.11 -m venv --clear build/lock
	build/lock/bin/pip --disable-pip-version-check install --quiet pip-tools
	CUSTOM_COMPILE_COMMAND="make lock" $(LOCK) --extra dev -o requirements/dev.txt pyproject.toml
	CUSTOM_COMPILE_COMMAND="make lock" $(LOCK) --extra agent -c requirements/dev.txt -o requirements/agent.txt pyproject.toml
	CUSTOM_COMPILE_COMMAND="make lock" $(LOCK) --extra aggregator --extra clickhouse -c requirements/dev.txt -o requirements/aggregator.txt pyproject.toml
	CUSTOM_COMPILE_COMMAND="make lock" $(LOCK) --only-build-deps --all-build-deps -o requirements/build.txt pyproject.toml

clean: ## remove the environment and the caches; logs that were collected (run/) stay
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@for python in $(PYTHON); do \
	  if $$python -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; \
	  then echo "making $(VENV) with $$($$python --version)"; exec $$python -m venv $(VENV); fi; \
	done; \
	echo "logboom needs Python 3.11, 3.12 or 3.13 with its venv module (Debian, Ubuntu: apt install python3-venv)." >&2; \
	echo "Tried: $(PYTHON). Name one with: make PYTHON=/path/to/python" >&2; \
	exit 1

# What the processes need; `make run` waits for no more. Compiling all of it would take longer than loading it.
$(VENV)/run.stamp: requirements/agent.txt requirements/aggregator.txt requirements/build.txt pyproject.toml | $(BIN)/python
	$(PIP) install --quiet --no-compile --require-hashes -r requirements/agent.txt -r requirements/aggregator.txt
	$(PIP) install --quiet --require-hashes -r requirements/build.txt
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/dev.stamp: requirements/dev.txt $(VENV)/run.stamp
	$(PIP) install --quiet --require-hashes -r requirements/dev.txt
	@touch $@
