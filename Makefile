# Two commands for a newcomer: `make quickstart` and `make test`. Both set themselves up.
PYTHON ?= python3.12
BIN := .venv/bin
SOURCES := conversion data_prep evaluation pretrain release sft tests tinymathreason

.PHONY: help setup lock quickstart realdata test lint soak clean
.DELETE_ON_ERROR:

help:
	@echo "make quickstart           the whole path at a tiny size, from nothing to an accuracy"
	@echo "make test                 lint, types and every test"
	@echo "make realdata DATA=DIR    the same path on real text in the public datasets' schemas"
	@echo "make soak                 the quickstart killed at random moments, again and again"
	@echo "make lock                 resolve pyproject.toml's extras into requirements.txt"

setup: .venv/.complete

# uv installs in a tenth of pip's time; without one on the path, the pinned one is fetched with pip.
.venv/.complete: requirements.txt pyproject.toml pretrain/maxtext_train.py
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 12))' || \
	  { echo "error: Python 3.12 is needed; set PYTHON=/path/to/python3.12" >&2; exit 2; }
	$(PYTHON) -m venv --clear .venv
	if ! command -v uv >/dev/null; then \
	  awk '/^uv==/ {p = 1} p {print} p && !/\\$$/ {exit}' requirements.txt > .venv/uv.txt && \
	  $(BIN)/python -m pip install --quiet --require-hashes --requirement .venv/uv.txt; fi
	PATH="$$PWD/$(BIN):$$PATH" uv pip install --quiet --python $(BIN)/python --require-hashes --requirement requirements.txt
	PATH="$$PWD/$(BIN):$$PATH" uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

lock: setup
	PATH="$$PWD/$(BIN):$$PATH" uv pip compile pyproject.toml --all-extras --generate-hashes \
	  --python-version 3.12 --no-emit-index-url --no-annotate --no-header --quiet --output-file requirements.txt

quickstart: setup
	@$(BIN)/python -m tinymathreason.pipeline tinymathreason/pipelines/quickstart.yaml

realdata: setup
	@DATA="$(DATA)" $(BIN)/python -m tinymathreason.pipeline tinymathreason/pipelines/realdata.yaml

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/pytest

soak: setup
	$(BIN)/pytest -n 0 -m soak

clean:
	rm -rf runs
