# Two commands do everything: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST := python -m pytest

.PHONY: demo test test-parts test-whole coverage check long bench test-vm deb clean
.DELETE_ON_ERROR:

demo: $(VENV)/.hub  ## a hub, a mast and its page on this machine
	@$(BIN)/masthead demo

test: test-parts test-whole  ## every check and every test but the long ones

test-parts: $(VENV)/.dev check
	$(BIN)/$(PYTEST) -n auto --dist loadfile --ignore=tests/e2e --ignore=tests/faults -m "not long and not vm"

test-whole: $(VENV)/.dev  # one after the other: each is several programs that wait for each other
	$(BIN)/$(PYTEST) tests/e2e tests/faults -m "not long"

coverage:  ## the same tests, and what of the code they reach
	@rm -f .coverage .coverage.*
	$(MAKE) test PYTEST="coverage run -m pytest"
	$(BIN)/coverage combine -q
	$(BIN)/coverage report

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

long: $(VENV)/.dev  ## what takes minutes
	@tests/vm/build
	$(BIN)/python -m pytest -m "long and not vm"
	$(BIN)/python -m pytest tests/vm

bench: $(VENV)/.dev  ## drain and footprint against the bare SDK; ten minutes, on a machine with nothing else to do
	$(BIN)/python -m tests.bench.drain
	$(BIN)/python -m tests.bench.footprint

test-vm: $(VENV)/.dev  ## the drivers and the unit in a virtual machine with simulated pins
	@tests/vm/build
	$(BIN)/python -m pytest tests/vm -m "not long"

deb: $(VENV)/bin/python  ## dist/masthead_VERSION_all.deb, for Debian and Raspberry Pi OS 12 and 13
	@PYTHON=$(BIN)/python deploy/debian/build

clean:
	rm -rf $(VENV) .vm tests/e2e/node/node_modules build dist *.egg-info .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one with: make demo PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "python3-venv is missing: sudo apt install python3-venv"; exit 1; }

$(VENV)/.hub: setup.cfg pyproject.toml | $(VENV)/bin/python
	@echo "Installing into $(VENV) …"
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[hub,operator]'
	@touch $@

$(VENV)/.dev: setup.cfg pyproject.toml | $(VENV)/bin/python
	@echo "Installing into $(VENV) …"
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[hub,operator,dev]'
	@touch $@ $(VENV)/.hub
