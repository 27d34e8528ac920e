# Two commands do everything: `make study` and `make test`. Only Python 3.11, git and make are needed.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
CLUSTER_INSTALLED := $(VENV)/.cluster-installed

export DAGSTER_HOME ?= $(CURDIR)/.dagster
# Where this is set, as in many containers, every one of the processes of a study would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: study install test test-fast faults endtoend bench cluster lint ui wheel docs docs-test reference clean

study: $(INSTALLED)
	$(BIN)/fly64 run
	@echo "open the UI with: make ui"

install: $(INSTALLED)
	@echo "installed in $(VENV); try: $(BIN)/fly64 doctor"

# Tests of one module stay in one process, which has what they share; more processes than cores only wait. Modules keep
# their order, so that the servers of tests/endtoend end with the last module that needs them.
WORKERS := -n auto --maxprocesses 4 --dist loadscope --no-loadscope-reorder

test: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest $(WORKERS)

test-fast: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest $(WORKERS) -m "not slow and not cluster"

# Fault injection in full: every stage, the engines among them; the table of faults goes to faults.md.
faults: $(INSTALLED)
	FLY64_FAULTS=full FLY64_FAULTS_TABLE=$(CURDIR)/faults.md $(BIN)/pytest -v tests/faults
	@cat faults.md

# The real webserver, daemon and browser in full: engines in every cell, services killed in the middle of a backfill; and
# all phases of the command, one after the other.
endtoend: $(INSTALLED)
	FLY64_ENDTOEND=full $(BIN)/pytest -v tests/endtoend tests/cli/commands/test_phases.py

# The servers and clusters on which a study can run, each started by its tests: PostgreSQL, Ray, Slurm, Kubernetes' job
# specifications. Where a server is not installed its tests are skipped and say so.
cluster: $(CLUSTER_INSTALLED)
	@missing=""; \
	ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || missing="$$missing postgresql"; \
	PATH="$$PATH:/usr/sbin" command -v slurmctld >/dev/null || missing="$$missing slurm-wlm"; \
	if [ -n "$$missing" ] && [ "$$(id -u)" = 0 ]; then apt-get install -y --no-install-recommends $$missing; \
	elif [ -n "$$missing" ]; then \
	  echo "Not installed, and their tests are skipped:$$missing. To run them: sudo apt-get install$$missing"; fi
	OMP_NUM_THREADS=1 $(BIN)/pytest -v -m cluster tests/cluster tests/deploy

# Everything that is timed beside a floor or a peer, and the page of it; QUICK=1 measures less and leaves the page alone.
bench: $(INSTALLED)
	$(BIN)/python benchmarks/bench.py $(if $(QUICK),--quick)

lint: $(INSTALLED)
	$(BIN)/ruff format --no-cache --check .
	$(BIN)/ruff check --no-cache .
	$(BIN)/mypy
	$(BIN)/lint-imports

ui: $(INSTALLED)
	$(BIN)/fly64 ui

# A source archive and a wheel in dist/. `tests/test_release.py` builds them, too, and uses what it has built.
wheel: $(INSTALLED)
	$(BIN)/python -m build --no-isolation

# The documentation site, in docs/_build/html; notebooks are executed where they have changed. Warnings are errors.
docs: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/sphinx-build --fail-on-warning --keep-going -b html docs docs/_build/html
	@echo "open docs/_build/html/index.html"

# Pages of the reference that are written from the code.
reference: $(INSTALLED)
	$(BIN)/python -m fly64_assets.study.reference
	$(BIN)/python docs/generate.py

# Every command of the tutorials, word for word, in an empty folder.
docs-test: $(INSTALLED)
	FLY64_TUTORIALS=full OMP_NUM_THREADS=1 $(BIN)/pytest -v tests/docs

$(INSTALLED): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is needed: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@# torch first, alone: with it in place nothing else asks for another build of it.
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch setuptools wheel
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-build-isolation --editable ".[dev,docs]"
	@touch $@

$(CLUSTER_INSTALLED): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-build-isolation \
	  --editable ".[dev,ray,k8s,postgres]"
	@touch $@

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .hypothesis .import_linter_cache
