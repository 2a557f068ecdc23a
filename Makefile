# Each target does all the set-up it needs with python3 (3.11 or newer) and make alone.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.ready
DEMO := var/demo/lowtide.db

.PHONY: help setup demo serve test soak bench check format clean

help:
	@echo "make demo    one market day at high speed, then its bill (about a minute)"
	@echo "make serve   the demo's market if there is one, else your own (var/lowtide.db)"
	@echo "make test    the tests        make check   lint, types, floors"
	@echo "make soak    the long proofs  make bench   speed and size, as ratios in one run"

setup: $(STAMP)

$(STAMP): requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Lowtide needs Python 3.11 or newer: make PYTHON=python3.12")'
	@if command -v uv >/dev/null 2>&1; then \
		uv venv --quiet --allow-existing --python $(PYTHON) .venv && export VIRTUAL_ENV=.venv && \
		uv pip sync --quiet --require-hashes requirements-dev.lock && \
		uv pip install --quiet --no-deps --no-build-isolation -e .; \
	else \
		$(PYTHON) -m venv .venv && \
		$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check --require-hashes -r requirements-dev.lock && \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .; \
	fi
	@touch $@

demo: setup
	@$(BIN)/lowtide demo

# LOWTIDE_DATABASE_URL wins; else the demo's market, where there is one; else your own.
serve: setup
	@LOWTIDE_DATABASE_URL="$${LOWTIDE_DATABASE_URL:-$$(test ! -f $(DEMO) || echo sqlite:///$(DEMO))}" $(BIN)/lowtide serve

test: setup
	$(BIN)/python -m pytest -n 3 --dist worksteal -m "not soak" tests

soak: setup
	$(BIN)/python -m pytest -m soak tests

bench: setup
	$(BIN)/python -m benchmarks

check: setup
	$(BIN)/ruff check src tests benchmarks migrations
	$(BIN)/ruff format --check src tests benchmarks migrations
	$(BIN)/mypy
	PYTHONPATH=src $(BIN)/lint-imports

format: setup
	$(BIN)/ruff check --fix src tests benchmarks migrations
	$(BIN)/ruff format src tests benchmarks migrations

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
