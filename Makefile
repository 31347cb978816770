# make demo   segment the sample images from the command line with the embedded model
# make test   every check: style, types, import contracts, documentation, tests
# make help   the rest
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# This version has a CPU build; a plain "torch" may pull gigabytes of CUDA packages.
# Set TORCH= to another requirement, such as TORCH="torch" for a GPU build.
TORCH ?= torch==2.13.0
SOURCES := src tests benchmarks tools

# On Linux the viewer's tests need an X server with GL; elsewhere the desktop is there.
ifeq ($(shell uname -s),Linux)
WITH_SCREEN := xvfb-run --auto-servernum --server-args="-screen 0 1920x1200x24 +extension GLX"
else
WITH_SCREEN :=
endif
# Tests share nothing but the machine: as many run at once as it has cores.
WORKERS ?= auto
# Each check's lines stay together, where make can do that (since 4.0).
TWO_AT_ONCE := --jobs=2 $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)
PYTEST := NAPARI_CONFIG= $(WITH_SCREEN) $(BIN)/python -m pytest

.PHONY: help setup setup-test system-libraries demo test wheel-test sbom release lint format typecheck imports docs docs-test pytest coverage clean

help:
	@echo "setup      install the plugin and what it needs into $(VENV)"
	@echo "demo       segment the sample images into demo-output/"
	@echo "test       lint, typecheck, imports, docs-test and docs, two at once; then pytest"
	@echo "wheel-test build wheel and sdist into build/wheel/dist, try the wheel in a new environment"
	@echo "sbom       what the wheel comes with, as CycloneDX, into build/wheel/sbom.json"
	@echo "release    wheel-test with every address known, and the recipe for conda-forge"
	@echo "lint       ruff: rules and layout"
	@echo "format     rewrite the layout with ruff"
	@echo "typecheck  mypy"
	@echo "imports    the import contracts of pyproject.toml"
	@echo "docs-test  links and Python examples in README.md and docs/"
	@echo "docs       the documentation site, into build/site; open its index.html"
	@echo "pytest     the tests alone; choose with ARGS='-k io', or WORKERS=0 for one process"
	@echo "coverage   the tests, and which lines they run"
	@echo "clean      remove $(VENV) and every cache"

setup: $(VENV)/.runtime
setup-test: $(VENV)/.test

$(BIN)/python:
	$(PYTHON) tools/check_python.py
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: pyproject.toml | $(BIN)/python
	@echo "installing $(TORCH), napari and what they need into $(VENV): a few minutes the first time"
	$(PIP) install "$(TORCH)"
	$(PIP) install --editable ".[all,zarr]"
	touch $@

# At once with what it needs to run: to resolve all of it twice takes longer.
$(VENV)/.test: pyproject.toml | $(BIN)/python
	@echo "installing $(TORCH), napari and what the checks need into $(VENV): a few minutes the first time"
	$(PIP) install "$(TORCH)"
	$(PIP) install --editable ".[all,zarr,test]"
	touch $(VENV)/.runtime $@

system-libraries:
	tools/system-libraries.sh

demo: $(VENV)/.runtime
	$(BIN)/napari-sam demo --output demo-output

# What needs one core goes beside what does, then the tests, which take all cores there are;
# so pytest's closing line is the last.
CHECKS := lint typecheck imports docs-test docs
test: $(VENV)/.test
	+$(MAKE) $(TWO_AT_ONCE) $(CHECKS)
	+$(MAKE) pytest

wheel-test: $(VENV)/.test system-libraries
	$(WITH_SCREEN) $(BIN)/python tools/check_wheel.py build/wheel "$(TORCH)"

# The tool has an environment of its own: it tells of another.
sbom: wheel-test
	$(BIN)/python -m venv build/sbom-env
	build/sbom-env/bin/python -m pip --disable-pip-version-check --quiet install "cyclonedx-bom>=7"
	build/sbom-env/bin/cyclonedx-py environment --output-reproducible \
	  --output-file build/wheel/sbom.json build/wheel/env

release: $(VENV)/.test
	$(BIN)/python tools/release.py
	+$(MAKE) wheel-test
	$(BIN)/python tools/release.py build/wheel/dist

lint: $(VENV)/.test
	$(BIN)/ruff check $(wildcard $(SOURCES))
	$(BIN)/ruff format --check $(wildcard $(SOURCES))

format: $(VENV)/.test
	$(BIN)/ruff check --fix-only $(wildcard $(SOURCES))
	$(BIN)/ruff format $(wildcard $(SOURCES))

typecheck: $(VENV)/.test
	$(BIN)/mypy

imports: $(VENV)/.test
	$(BIN)/lint-imports

docs-test: $(VENV)/.test
	$(BIN)/python tools/check_docs.py README.md CONTRIBUTING.md SECURITY.md CODE_OF_CONDUCT.md CHANGELOG.md docs

# Strict: a link, a name or a page in no contents list that leads nowhere is an error.
docs: $(VENV)/.test
	$(BIN)/python docs/draw_diagrams.py --check
	rm -rf build/site
	$(BIN)/python -m sphinx -b html -q --fail-on-warning --keep-going docs build/site
	$(BIN)/python tools/check_site.py build/site docs README.md

pytest: $(VENV)/.test system-libraries
	$(PYTEST) --numprocesses $(WORKERS) --dist worksteal $(ARGS)

# Following every line takes half as long again: not part of "test".
coverage: PYTEST += --cov --cov-report=term:skip-covered
coverage: pytest

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage htmlcov build demo-output
