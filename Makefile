# Two commands for a newcomer: `make quickstart` and `make test`. Both set themselves up.
BIN := .venv/bin
# Packages of another Python, which a cluster's modules name here, would come before the lock's.
unexport PYTHONHOME PYTHONPATH
# Whatever the locale: packages that name no encoding write text that others read as UTF-8.
export PYTHONUTF8 := 1

.PHONY: help setup setup-gpu lock quickstart realdata real-model grpo-demo report test test-processors lint soak docs
.DELETE_ON_ERROR:

help:
	@echo "make quickstart           the whole path at a tiny size, from nothing to an accuracy"
	@echo "make test                 lint, types and every test"
	@echo "make realdata DATA=DIR    the same path on real text in the public datasets' schemas"
	@echo "make real-model DATA=DIR  an open model: to MaxText and back, trained further, tuned"
	@echo "make setup-gpu            what a Linux host with an NVIDIA GPU needs besides, and a check"
	@echo "make grpo-demo            a half-trained model, tuned by rewards for its own answers"
	@echo "make report RUN=DIR       a run's report again: one HTML page, and a table"
	@echo "make docs                 the documentation as a site, in runs/site"
	@echo "make test-processors      the tests that a processor could decide, as others would run them"
	@echo "make soak                 the quickstart killed at random moments, again and again"
	@echo "make lock                 resolve pyproject.toml into requirements.txt and requirements-gpu.txt"

setup: .venv/.installed

# The scripts in .venv name the folder in which they were made: moved or copied, it is made again.
ifneq ($(shell test -x $(BIN)/python && cat .venv/.complete 2>/dev/null),$(CURDIR))
.PHONY: .venv/.complete
endif
.venv/.complete: requirements.txt
	@bash pipeline/setup.sh
	@pwd -P > $@

# An editable install holds a copy of the file that the wheel places into MaxText. It names this
# folder from its own: in the locale C, Python reads no .pth file with a path that is not ASCII.
.venv/.installed: .venv/.complete pyproject.toml pretrain/maxtext_train.py
	@PATH="$$PWD/$(BIN):$$PATH" uv pip install --quiet --no-cache --python $(BIN)/python --no-deps \
	  --no-build-isolation --editable .
	@echo ../../../.. > .venv/lib/python3.12/site-packages/_editable_impl_tinymathreason.pth
	@touch $@

# jax's plugin for CUDA and what belongs to it, beside what the default set-up has. Without a GPU, as
# when an image is built, the check says so, and the packages are there.
setup-gpu: .venv/.gpu
	@$(BIN)/python -m pipeline.gpu || true

.venv/.gpu: .venv/.installed requirements-gpu.txt
	@bash pipeline/setup.sh requirements-gpu.txt
	@touch $@

# With wheels for a glibc as old as set-up allows. The second lock has only what the first has not.
COMPILE = PATH="$$PWD/$(BIN):$$PATH" uv pip compile --generate-hashes --python-version 3.12 \
  --python-platform x86_64-manylinux_2_31 --no-emit-index-url --no-annotate --no-header --quiet
lock: setup
	$(COMPILE) pyproject.toml --all-extras --output-file requirements.txt
	$(COMPILE) --group gpu --constraint requirements.txt --output-file requirements-gpu.txt \
	  $$(sed -n 's/^\([^ =]*\)==.*/--no-emit-package \1/p' requirements.txt)

quickstart: setup
	@$(BIN)/python -m pipeline pipeline/configs/quickstart.yaml

realdata: setup
	@DATA="$(DATA)" $(BIN)/python -m pipeline pipeline/configs/realdata.yaml

real-model: setup
	@DATA="$(DATA)" $(BIN)/python -m pipeline pipeline/configs/real_model.yaml

# The quickstart's base model has this name only when it is complete; nothing else of that run is needed.
grpo-demo: setup
	@test -d runs/quickstart/base || $(MAKE) --no-print-directory quickstart
	@$(BIN)/python -m pipeline pipeline/configs/grpo_demo.yaml

report: setup
	@$(BIN)/python -m release.report --run "$(RUN)"

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

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
