# Sets itself up on first use: .venv from the lock, by uv where it is, else by pip.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
READY := .venv/.ready
ONE_HALF := tests/contract tests/core tests/families tests/mutations tests/cases tests/tasks

.PHONY: setup demo test test-one-half test-other-half test-slow mutations lint bench docs lock clean

# Extras of pyproject.toml by name, as in: make setup EXTRAS=slurm
EXTRAS ?=

setup: $(READY)
ifneq ($(EXTRAS),)
	@if command -v uv >/dev/null; then \
	  UV_FIND_LINKS="$${UV_FIND_LINKS:-$$PIP_FIND_LINKS}" \
	  uv pip install --quiet --python $(BIN)/python --constraint requirements.lock --editable '.[$(EXTRAS)]'; \
	else \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable '.[$(EXTRAS)]'; \
	fi
endif

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "isovox needs Python 3.11 or later; got $$($(PYTHON) --version). Name one with: make PYTHON=python3.12"; exit 2; }
	@if command -v uv >/dev/null; then \
	  export UV_FIND_LINKS="$${UV_FIND_LINKS:-$$PIP_FIND_LINKS}"; \
	  uv venv --quiet --allow-existing --python $(PYTHON) .venv && \
	  uv pip install --quiet --python $(BIN)/python -r requirements.lock && \
	  uv pip install --quiet --python $(BIN)/python --no-deps --editable .; \
	else \
	  $(PYTHON) -m venv .venv && \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock && \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .; \
	fi
	@touch $@

demo: setup
	@$(BIN)/isovox demo demo-out

# The fast tests in two halves side by side, a core each.
test: setup
	@$(MAKE) --no-print-directory --jobs 2 test-one-half test-other-half

test-one-half: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(ONE_HALF)

test-other-half: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests $(ONE_HALF:%=--ignore=%)

test-slow: setup
	$(BIN)/python -m pytest -m slow

# Changes the code at 300 places, one at a time, and counts how many of the changes fail a test; an hour at most.
mutations: setup
	$(BIN)/python -m tests.mutations

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup
	@if command -v uv >/dev/null; then uv pip install --quiet --python $(BIN)/python -r requirements-bench.lock; \
	else $(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-bench.lock; fi
	$(BIN)/python -m tests.benchmarks

# The documentation, to site/; a link that leads nowhere fails it. Nothing in it asks another host for anything.
docs: setup
	@if command -v uv >/dev/null; then uv pip install --quiet --python $(BIN)/python -r requirements-docs.lock; \
	else $(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-docs.lock; fi
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	$(BIN)/python -m pytest -m "slow or not slow" tests/docs

# Renews the locks; needs uv. The build's tag of torch is cut off, so that each machine takes its own build.
lock:
	UV_FIND_LINKS="$${UV_FIND_LINKS:-$$PIP_FIND_LINKS}" uv pip compile --quiet pyproject.toml --extra dev --python-version 3.11 --no-header --no-annotate --output-file .lock
	sed -e 's/+cpu$$//' -e '/^--/d' .lock >requirements.lock
	UV_FIND_LINKS="$${UV_FIND_LINKS:-$$PIP_FIND_LINKS}" uv pip compile --quiet pyproject.toml --extra dev --extra bench --python-version 3.11 --no-header --no-annotate --output-file .lock
	sed -e 's/+cpu$$//' -e '/^--/d' .lock | grep -vxFf requirements.lock >requirements-bench.lock
	UV_FIND_LINKS="$${UV_FIND_LINKS:-$$PIP_FIND_LINKS}" uv pip compile --quiet pyproject.toml --extra dev --extra docs --python-version 3.11 --no-header --no-annotate --output-file .lock
	sed -e 's/+cpu$$//' -e '/^--/d' .lock | grep -vxFf requirements.lock >requirements-docs.lock
	rm .lock

clean:
	rm -rf .venv site demo-out build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
