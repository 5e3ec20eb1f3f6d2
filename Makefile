# Works in a fresh clone with git, make and Python >= 3.11 with pip; targets may be given in any order.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# Where this is set each of the thousands of commands that tests start compiles the library again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test fast real slices check lint types contracts unit cluster faults long bench node clean

demo: $(READY)  ## a good release promoted, a bad one rolled back (about a minute)
	@$(BIN)/onlyvips-release demo

test: fast real  ## what this machine can run, in ten minutes
	@$(BIN)/python -m tests.missing

fast: $(READY)  ## the half of `make test` that needs processors only, on two of them, in another order for each commit
	ONLYVIPS_TEST_ORDER=$$(git rev-parse HEAD) $(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow and not slice and not cluster" $(REPORT:%=--junitxml=%-fast.xml)

real: $(READY)  ## the half of `make test` with real Envoys, processes and clocks, two files at a time where they can
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "slow and not slice and not cluster and not alone" $(REPORT:%=--junitxml=%-real.xml)
	$(BIN)/python -m pytest -m "slow and not slice and alone" $(REPORT:%=--junitxml=%-alone.xml)

slices: $(READY)  ## parts of the long tables, and the slowest releases: with `make test` that is all that CI runs
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "slice and not cluster and not alone" $(REPORT:%=--junitxml=%-slices.xml)
	$(BIN)/python -m pytest -m "slice and alone" $(REPORT:%=--junitxml=%-slices-alone.xml)

faults: $(READY)  ## a tenth of the seeded faults, another one for each commit: each must turn a fast test red
	$(BIN)/python -m tests.faults --slice $$(git rev-parse HEAD)

check: lint types contracts unit  ## seconds: before every commit

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

contracts: $(READY)
	$(BIN)/lint-imports

unit: $(READY)
	$(BIN)/python -m pytest -q -m "not slow and not cluster" --ignore=tests/e2e --ignore=tests/traffic --ignore=tests/telemetry/test_sources.py --ignore=tests/suites --ignore=tests/sandbox --ignore=tests/reporting --ignore=tests/browser --ignore=tests/crash --ignore=tests/cli/test_progress.py

cluster: $(READY)  ## tests on a real Kubernetes cluster: root, Go and Debian packages (`.ci/cluster.sh prepare`)
	$(BIN)/python -m tests.cluster build
	$(BIN)/python -m pytest -m cluster tests/cluster $(REPORT:%=--junitxml=%-cluster.xml)

node: .node/.ready  ## what the browser's tests need beside Chromium: Allure, and axe-core for accessibility

.node/.ready: Makefile
	npm install --silent --no-audit --no-fund --no-package-lock --prefix .node allure@3.18.0 axe-core@4.14.1
	@touch $@

bench: $(READY)
	$(BIN)/python -m benchmarks

long: $(READY)  ## what does not fit into CI: once per issue, its table is committed
	$(BIN)/python -m benchmarks --long
	$(BIN)/python -m tests.faults --write
	$(BIN)/python -m tests.mutants --write
	$(BIN)/python -m tests.crash.cells
	$(BIN)/python -m tests.e2e.faults
	$(BIN)/python -m tests.suites.mutations --healthy 200
	ONLYVIPS_LONG=1 $(BIN)/python -m pytest -q tests/suites/test_hostile_suites.py
	$(BIN)/python -m tests.crash.double
	$(BIN)/python -m tests.cluster build node contour metrics-server
	$(BIN)/python -m tests.cluster cycles 10
	ONLYVIPS_LONG=1 $(BIN)/python -m pytest -q tests/cluster/test_metrics_server.py

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python >= 3.11 is needed; call make PYTHON=python3.11")'
	$(PYTHON) -m venv --without-pip .venv
	$(PYTHON) -m pip --disable-pip-version-check --python $(BIN)/python install -q -c constraints.txt -e '.[all]'
	@touch $(READY)

clean:
	rm -rf .venv .node .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
