# Every command of the project. `make` alone lists them.
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
UV := .venv/uv/bin/uv
ENVIRONMENTS := airflow spark serving release
COMPILE = $(UV) pip compile -q --generate-hashes --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
          --no-emit-index-url --no-annotate --custom-compile-command "make lock"
IS_SET_UP = if [ ! -e .venv/release/requirements.lock ]; then echo "nothing is set up yet: run make demo"; exit 1; fi
INSTALL = $(UV) pip install -q --compile-bytecode --no-deps --require-hashes
MYPY = .venv/lint/bin/mypy --no-error-summary --python-executable
# What is imported is declared in that part's requirements.txt, and the other way round; it speaks only of problems.
DEPTRY = problems=$$(.venv/lint/bin/deptry --no-ansi --config tests/lint/deptry.toml --requirements-files $(1) $(2) 2>&1) || { echo "$$problems"; exit 1; }
export AIRFLOW_HOME := $(CURDIR)/.demo
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-failures status stop test test-integration lint bench lock clean

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

setup: $(ENVIRONMENTS:%=.venv/%/requirements.lock) .venv/flights/requirements.lock ## install the four locked environments into .venv/

demo: ## the whole loop on real flight data: two retrains, two releases, serving at the end
	@$(PYTHON) demo/preflight.py && started=$$(date +%s) && mkdir -p .demo \
	  && { flock -n 9 || { echo "another set-up is at work in this folder: waiting for it"; flock 9; } \
	       && $(MAKE) --no-print-directory -s setup; } 9>.demo/setup.lock \
	  && .venv/release/bin/python -m demo.run --setup-started $$started

demo-failures: ## four bad runs, each stopped at its own gate (after make demo)
	@$(IS_SET_UP) && .venv/release/bin/python -m demo.failures

status: ## what is live, what runs, and where each log is
	@$(IS_SET_UP) && .venv/release/bin/python -m demo.status

stop: ## stop every process of the demo; what is live stays recorded
	@if [ -e .venv/release/requirements.lock ]; then .venv/release/bin/python -m demo.stop; fi

test: $(ENVIRONMENTS:%=.venv/%/tests.lock) ## all tests that need no minutes of services
	@$(PYTHON) -m tests.suites $(OPTIONS)

test-integration: $(ENVIRONMENTS:%=.venv/%/tests.lock) .venv/spark35/tests.lock .venv/flights/requirements.lock ## end to end and kill tests with the real services
	@$(PYTHON) -m tests.suites --integration $(OPTIONS)

lint: .venv/lint/tests.lock $(ENVIRONMENTS:%=.venv/%/requirements.lock) ## format, style, names, imports between packages, types, dependencies
	@.venv/lint/bin/ruff format --check -q . && .venv/lint/bin/ruff check -q . && .venv/lint/bin/lint-imports
	@.venv/lint/bin/python tests/lint/names.py
	@$(MYPY) .venv/release/bin/python contract images release
	@$(MYPY) .venv/airflow/bin/python plugins dags
	@$(MYPY) .venv/serving/bin/python serving
	@$(MYPY) .venv/spark/bin/python spark_jobs
	@$(call DEPTRY,requirements.txt,dags plugins images contract release/ledger release/registries)
	@$(call DEPTRY,spark_jobs/requirements.txt,spark_jobs contract)
	@$(call DEPTRY,serving/requirements.txt,serving)
	@$(call DEPTRY,release/requirements.txt,release images contract demo)

bench: setup .venv/spark/tests.lock ## the README's figures, measured anew (hours; on YARN after make demo PLATFORM=yarn)
	@.venv/release/bin/python -m benchmarks

lock: $(UV) ## lock every environment again
	$(COMPILE) --override requirements.overrides.txt requirements.txt -o requirements.lock
	for folder in spark_jobs serving release; do $(COMPILE) $$folder/requirements.txt -o $$folder/requirements.lock; done
	$(COMPILE) --override spark_jobs/requirements-3.5.txt spark_jobs/requirements.txt -o spark_jobs/requirements-3.5.lock
	$(COMPILE) --override requirements.overrides.txt requirements.txt tests/requirements.txt -c requirements.lock -o tests/locks/airflow.lock
	$(COMPILE) spark_jobs/requirements.txt tests/requirements.txt -c spark_jobs/requirements.lock -o tests/locks/spark.lock
	$(COMPILE) --override spark_jobs/requirements-3.5.txt spark_jobs/requirements.txt tests/requirements.txt \
	  -c spark_jobs/requirements-3.5.lock -o tests/locks/spark35.lock
	$(COMPILE) serving/requirements.txt tests/requirements.txt -c serving/requirements.lock -o tests/locks/serving.lock
	$(COMPILE) release/requirements.txt tests/requirements.txt tests/requirements-release.txt -c release/requirements.lock -o tests/locks/release.lock
	$(COMPILE) --no-deps demo/requirements.txt -o demo/requirements.lock
	$(COMPILE) demo/build.txt -o demo/build.lock
	$(COMPILE) tests/lint.txt -o tests/locks/lint.lock
	$(COMPILE) tests/uv.txt -o tests/locks/uv.lock

clean: stop ## remove all that the project made: .demo/, .venv/, caches
	@rm -rf .demo .venv .build .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/uv/bin/uv:
	@$(PYTHON) demo/preflight.py
	@echo "setting up .venv/ (about a minute, once)"
	@$(PYTHON) -m venv .venv/uv && .venv/uv/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r tests/locks/uv.lock

.venv/airflow/requirements.lock: requirements.lock
.venv/spark/requirements.lock: spark_jobs/requirements.lock
.venv/spark35/requirements.lock: spark_jobs/requirements-3.5.lock
.venv/serving/requirements.lock: serving/requirements.lock
.venv/release/requirements.lock: release/requirements.lock
# The copy beside pyvenv.cfg says which lock the environment holds; servers refuse an image made for another one.
.venv/%/requirements.lock: | $(UV)
	@test -x .venv/$*/bin/python || $(UV) venv -q --no-python-downloads --python $(PYTHON) .venv/$*
	@$(INSTALL) --python .venv/$*/bin/python -r $< && cp $< $@

.venv/flights/requirements.lock: demo/requirements.lock demo/build.lock | $(UV)
	@$(UV) pip install -q --target .venv/flights --no-deps --require-hashes --build-constraints demo/build.lock -r $<
	@cp $< $@

.venv/%/tests.lock: tests/locks/%.lock | .venv/%/requirements.lock
	@$(INSTALL) --python .venv/$*/bin/python -r $< && cp $< $@

.venv/lint/tests.lock: tests/locks/lint.lock | $(UV)
	@test -x .venv/lint/bin/python || $(UV) venv -q --no-python-downloads --python $(PYTHON) .venv/lint
	@$(INSTALL) --python .venv/lint/bin/python -r $< && cp $< $@
