# Two commands for a newcomer: `make quickstart` and `make test`. Both set themselves up.
BIN := .venv/bin

.PHONY: help setup lock quickstart realdata grpo-demo report test test-processors lint soak
.DELETE_ON_ERROR:

help:
	@echo "make quickstart           the whole path at a tiny size, from nothing to an accuracy"
	@echo "make test                 lint, types and every test"
	@echo "make realdata DATA=DIR    the same path on real text in the public datasets' schemas"
	@echo "make grpo-demo            a half-trained model, tuned by rewards for its own answers"
	@echo "make report RUN=DIR       a run's report again: one HTML page, and a table"
	@echo "make test-processors      the tests that a processor could decide, as others would run them"
	@echo "make soak                 the quickstart killed at random moments, again and again"
	@echo "make lock                 resolve pyproject.toml's extras into requirements.txt"

setup: .venv/.installed

.venv/.complete: requirements.txt
	@bash tinymathreason/setup.sh
	@touch $@

# An editable install holds a copy of the file that the wheel places into MaxText.
.venv/.installed: .venv/.complete pyproject.toml pretrain/maxtext_train.py
	@PATH="$$PWD/$(BIN):$$PATH" uv pip install --quiet --python $(BIN)/python --no-deps \
	  --no-build-isolation --editable .
	@touch $@

lock: setup
	PATH="$$PWD/$(BIN):$$PATH" uv pip compile pyproject.toml --all-extras --generate-hashes \
	  --python-version 3.12 --no-emit-index-url --no-annotate --no-header --quiet \
	  --output-file requirements.txt

quickstart: setup
	@$(BIN)/python -m tinymathreason.pipeline tinymathreason/pipelines/quickstart.yaml

realdata: setup
	@DATA="$(DATA)" $(BIN)/python -m tinymathreason.pipeline tinymathreason/pipelines/realdata.yaml

# The quickstart's base model takes its name when it is whole; nothing else of that run is needed.
grpo-demo: setup
	@test -d runs/quickstart/base || $(MAKE) --no-print-directory quickstart
	@$(BIN)/python -m tinymathreason.pipeline tinymathreason/pipelines/grpo_demo.yaml

report: setup
	@$(BIN)/python -m release.report --run "$(RUN)"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/pytest

test-processors: setup
	@$(BIN)/python -m tests.processors

soak: setup
	$(BIN)/pytest -n 0 -m soak
