# The commands of lenscape; `make help` lists them. Each sets up what is missing in .venv first.

.DEFAULT_GOAL := help
PORT ?= 5000
PYTEST ?=
# Two workers take a file of tests each at a time, in the order of tests/conftest.py.
PARALLEL := -n 2 --dist loadfile --no-loadscope-reorder

# .venv comes first, so that `python -m pipeline.cli` in dvc.yaml is its Python.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PYTHONUTF8 := 1
export DVC_NO_ANALYTICS := 1
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := 1
# Settings of another Python or GDAL on this machine break the wheels in .venv.
unexport PYTHONHOME PYTHONPATH GDAL_DATA GDAL_DRIVER_PATH PROJ_DATA PROJ_LIB
# Without bytecode every stage and every worker of the tests would compile all modules again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## list the commands
	@echo "make <command>, one of:"
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  %-8s %s\n", $$1, $$2}' Makefile

.PHONY: setup
setup: ## make or update .venv (every other command does it where needed)
	@sh .ci/setup

.PHONY: demo
demo: setup ## map the embedded scene: dvc repro, then say where the results are
	@git rev-parse --git-dir >/dev/null 2>&1 || dvc config --local core.no_scm true
	dvc repro
	@echo
	@for map in data/maps/*/*_classmap.tif; do echo "Class map:  $$map (QGIS opens it with names and colours)"; done
	@for preview in data/maps/*/preview.png; do echo "Preview:    $$preview"; done
	@echo "MLflow UI:  make ui, then http://127.0.0.1:$(PORT)"

.PHONY: lint
lint: setup ## check formatting, types and the layers of imports
	ruff check
	ruff format --check
	mypy
	lint-imports

# Side by side: mypy has one process, and in a fresh checkout it takes long.
define checked
ruff check
ruff format --check
lint-imports
mypy & types=$$!; tests=0; \
pytest $(PARALLEL) $(1) $(PYTEST) || tests=$$?; \
wait $$types && exit $$tests
endef

.PHONY: check
check: setup ## lint, and the tests that start no program (PYTEST= passes arguments on)
	$(call checked,-m "not slow" --hypothesis-profile check)

.PHONY: test
test: setup ## lint, and all tests (PYTEST= passes arguments on)
	$(call checked)

.PHONY: ui
ui: setup ## serve MLflow at 127.0.0.1 (PORT=5000)
	mlflow ui --host 127.0.0.1 --port $(PORT) --workers 1 \
		--backend-store-uri "$${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db}"

.PHONY: folds
folds: setup ## run the five-fold table (reports/folds.json); two hours on two cores
	dvc repro tile
	python -m benchmarks.folds

.PHONY: size
size: ## count modules and lines, a package of pipeline/ a line
	@python3 .ci/size.py

.PHONY: lock
lock: setup ## compile requirements.txt anew from pyproject.toml, with the newest versions
	uv pip compile pyproject.toml --all-extras --group dev --universal --python-version 3.12 \
		--upgrade --generate-hashes --no-annotate --no-emit-index-url \
		--custom-compile-command "make lock" --output-file requirements.txt --quiet
