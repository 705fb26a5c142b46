# Two commands: `make run` shows the product, `make test` runs every check. Both do all their own set-up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Python compiles what it imports and keeps that, whatever the environment says; the modules that nobody imports are never compiled.
unexport PYTHONDONTWRITEBYTECODE
# "compat" puts this directory into the path of modules. Otherwise each Python begins with an import hook, which takes it 26 ms.
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --config-settings editable_mode=compat

# Of pytest: a third one on two cores uses the time that the others wait for servers and clocks, which is a tenth of all.
PROCESSES ?= 3

.PHONY: run test check style types imported unit bench soak pythons applications clean test-peers wheel compiled compiled-test

run: $(VENV)/.installed
	$(BIN)/wproxy demo

# mypy takes a minute of one core where it has not run before, so the tests run beside it.
test: test-peers
	@$(MAKE) --no-print-directory $(VENV)/.test-installed
	@$(MAKE) --no-print-directory style imported
	@$(MAKE) --no-print-directory -j 2 types unit

check: style types

style: $(VENV)/.test-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.test-installed
	$(BIN)/mypy

# Pytest rewrites the assertions of each file that it finds new, and each process of xdist would do so for itself.
imported: $(VENV)/.test-installed
	@$(BIN)/python -m pytest --only-import --collect-only -q >/dev/null || true

unit: $(VENV)/.test-installed
	$(BIN)/python -m pytest -m "not soak and not applications" -n $(PROCESSES) --dist loadfile --durations 20 --durations-min 1

soak: $(VENV)/.test-installed
	$(BIN)/python -m pytest -m soak

# A wheel with compiled modules, in dist/; it needs a C compiler and is for this interpreter only.
wheel: $(VENV)/.installed
	rm -rf build/lib* build/bdist* build/temp*
	WPROXY_COMPILE=1 $(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .

# build/compiled: a copy of the tree with compiled modules, for `python -m bench --compiled build/compiled`.
compiled: $(VENV)/.test-installed
	sh tests/compiled_tree.sh $(BIN)/python build/compiled

# The tests on the compiled build; TESTS="tests/worker/http1 -x" for some of them. WPROXY_COMPILE_LEVEL=0 compiles in half the time.
compiled-test: compiled test-peers
	cd build/compiled && PYTHONPATH=. $(CURDIR)/$(BIN)/python -m pytest -m "not soak and not applications" -n $(PROCESSES) --dist loadfile $(TESTS)

# The tests on the Pythons of newer Debians, as root; PYTHONS="sid" TESTS="tests/master -q" for a part.
pythons:
	@TESTS="$(TESTS)" sh tests/run_on_pythons.sh $(PYTHONS)

# Real applications behind wproxy and behind nginx. APPLICATION=django for one of them.
applications: $(VENV)/.test-installed test-peers
	@sh tests/applications/install.sh $(PYTHON)
	$(BIN)/python -m pytest -m applications -n 2 --dist loadfile tests/applications/$(APPLICATION)

bench: $(VENV)/.test-installed test-peers
	$(BIN)/python -m bench $(BENCH)

# The servers on the other side of the tests; as root they are installed, otherwise tests that need a missing one are
# skipped and say so.
test-peers:
	@sh tests/install_peers.sh

$(VENV)/.python:
	@$(PYTHON) -m venv $(VENV) || sh tests/install_venv.sh $(PYTHON) $(VENV)
	@touch $@

$(VENV)/.installed: setup.cfg setup.py pyproject.toml $(VENV)/.python
	$(INSTALL) -e .
	@touch $@

$(VENV)/.test-installed: setup.cfg setup.py pyproject.toml $(VENV)/.python
	$(INSTALL) -e '.[test]'
	@touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
