# Every target first sets up what it needs: a virtual environment with the exact versions of constraints.txt.
# Needs Python 3.11 or newer; another one than python3 with `make test PYTHON=python3.12`.

PYTHON ?= python3
VENV ?= .venv
RUN := $(VENV)/bin/python -m
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo test runtime node cluster lint types check format clean

help: ## List the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

setup: $(READY) ## Create the virtual environment, or bring it up to date

demo: $(READY) ## Train Spanish to English on bundled pairs, in minutes, and show what was learned
	$(VENV)/bin/suguk demo $(ARGS)

test: $(READY) ## Run the test suite (some of it: make test ARGS='tests/config -x')
	@OMP_NUM_THREADS=1 $(RUN) pytest -n 2 --dist worksteal $(ARGS)

runtime: $(READY) ## Decode in a fresh environment without PyTorch
	@OMP_NUM_THREADS=1 $(RUN) tests.fresh

node: $(READY) ## Install onnxruntime-node and run the guide's JavaScript
	@npm install --silent --ignore-scripts --prefix build/node onnxruntime-node
	@NODE_PATH=build/node/node_modules OMP_NUM_THREADS=1 $(RUN) pytest tests/cli/test_export.py -k javascript $(ARGS)

cluster: $(READY) ## Install Ray (600 MB) and run the tests of a local cluster
	@$(RUN) pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,dev,ray]'
	@OMP_NUM_THREADS=1 $(RUN) pytest tests/corpus/test_cluster.py $(ARGS)

lint: $(READY) ## Style, formatting and the import ladder
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(VENV)/bin/lint-imports

types: $(READY) ## Static types
	$(RUN) mypy

check: lint types test ## All of it

format: $(READY) ## Reformat the code and mend what ruff can mend
	$(RUN) ruff check --fix .
	$(RUN) ruff format .

clean: ## Remove the virtual environment and all caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "suguk needs Python 3.11 or newer; name one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@$(RUN) pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || \
		{ echo "cannot create $(VENV); on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "Installing into $(VENV); the first time this takes a few minutes …" >&2
	@$(RUN) pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,dev]'
	@touch $@
