# The two commands of the README are `make demo` and `make test`; `make setup` is what both share.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: help setup demo test test-slow test-all test-label-studio lint docs bench schemas secrets clean

help:  ## List the targets.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

setup: .venv/.ready  ## Make .venv and install pinned packages.

.venv/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Amatl needs Python 3.11 or newer: make PYTHON=python3.12 setup")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing pinned packages into .venv (once, a minute or two) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[curator,captioning,label-studio,service,trainer,dev]'
	@touch $@

demo: setup  ## Images to report.html, live on CPU, in minutes.
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash examples/demo.sh

test: setup  ## The default tier: two to three minutes on two cores, no network, no GPU.
	@$(BIN)/python -m pytest -q -n auto --dist worksteal

test-slow: setup  ## What `test` leaves out: slow tests, side by side, and those in a browser, one by one.
	@$(BIN)/python -m pytest -q -n auto -m 'slow and not browser and not gpu and not label_studio'
	@$(BIN)/python -m pytest -q -m 'browser and not gpu and not label_studio'

test-all: setup  ## Every tier that needs no GPU and no server.
	@$(BIN)/python -m pytest -q -m 'not gpu and not label_studio' --cov --cov-report=term

test-label-studio: setup  ## Against a real Label Studio, in its own environment (made once, 1 GB), and Chromium.
	@$(BIN)/python -m curator.annotate.local_server.environment
	@$(BIN)/python -m pytest -q -m label_studio

lint: setup  ## Style, types, import contracts.
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

docs: setup  ## The documentation, in artefacts/docs. A dead link fails.
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --config-file docs/mkdocs.yml
	@echo "Open artefacts/docs/index.html."

bench: setup  ## Benchmarks, one table. One of them: make bench BENCH=ingest
	@$(BIN)/python -m tests.bench $(BENCH)

schemas: setup  ## Write schemas/json from the models.
	@$(BIN)/python -m schemas

secrets:  ## Make the passwords of docker/compose.yaml, once.
	@docker/make-secrets.sh

clean:  ## Remove what make made.
	rm -rf .venv demo artefacts build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .coverage
