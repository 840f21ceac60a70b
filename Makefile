# Every target sets up what it needs and can be run again at once. `make help` lists them.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
PYTEST := $(PY) -m pytest
BENCH ?=
SECONDS ?=
.DEFAULT_GOAL := help

.PHONY: help run test check lint types imports trace bench chaos soak reference docs package lock clean run-env dev-env servers

help: ## show this list
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run-env:
	@$(PYTHON) tools/bootstrap.py run

dev-env:
	@$(PYTHON) tools/bootstrap.py dev

servers: dev-env
	@$(PY) tools/servers.py

run: run-env ## start the daemon and a real paper-trading engine, with faults (SECONDS=40 ends by itself)
	@$(VENV)/bin/tapewatch demo $(if $(SECONDS),--seconds $(SECONDS))

test: dev-env servers ## run every test in random order, with the coverage of the package
	@rm -f .coverage .coverage.*
	$(PYTEST) --cov --cov-report=term:skip-covered -q

check: lint types imports ## lint, formatting, strict types and the direction of the imports

lint: dev-env ## ruff: lint and formatting
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

types: dev-env ## mypy, strict
	$(PY) -m mypy
	$(PY) -m mypy tools

imports: dev-env ## the arrows between the rooms
	$(PYTEST) -q -p no:randomly tests/project/test_import_arrows.py

trace: dev-env ## list the requirements that tests show, and by which
	$(PY) tools/trace.py

bench: dev-env ## run the benchmarks: all, or BENCH=name
	$(PY) -m bench $(BENCH)

chaos: dev-env ## the tests that kill processes again and again, at full length
	TAPEWATCH_CHAOS=full $(PYTEST) -q -m chaos

soak: dev-env ## one hour of the demo with its faults repeated; fails on a missed alert
	$(VENV)/bin/tapewatch demo --seconds $(or $(SECONDS),3600) --json

reference: dev-env ## write the reference pages anew from the code
	@$(PY) tools/reference.py
	@$(PY) -m tapewatch.config.reference > docs/reference/configuration.md

docs: dev-env ## the tests that hold the documentation to the code
	$(PYTEST) -q tests/project/test_docs.py

package: dev-env ## build wheel and sdist into dist/
	$(PY) tools/package.py

lock: ## resolve the lock files anew (needs uv)
	uv pip compile -q -U --universal --generate-hashes --python-version 3.11 --extra demo --group build \
	  --custom-compile-command "make lock" pyproject.toml -o requirements.lock
	uv pip compile -q -U --universal --generate-hashes --python-version 3.11 --extra demo --group dev \
	  --custom-compile-command "make lock" -c requirements.lock pyproject.toml -o requirements-dev.lock

clean: ## remove what the other targets made
	rm -rf $(VENV) .venv.lock dist build htmlcov .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .hypothesis
