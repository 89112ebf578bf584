# Everything a person or a CI job does with this repository. `make` lists it.

SHELL := /bin/bash
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

# Thousands of processes start in a run of the tests: each would compile everything again.
unexport PYTHONDONTWRITEBYTECODE

# The interpreter that .venv is made of; without it, the first fitting one of these.
PYTHON ?=
PYTHONS := $(if $(PYTHON),$(PYTHON),python3 python3.14 python3.13 python3.12 python3.11)
FITTING := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))

LOCK_TOOL := uv==0.13.9

BIN := .venv/bin

# Tests in worker processes; those that share a mesh in the same one, and the long ones first (tests/workers.py).
AT_ONCE := --numprocesses auto --dist loadgroup --no-loadscope-reorder

# What is locked comes as it was built by its authors: building it here would fetch tools that no lock names.
LOCKED = --require-hashes --only-binary :all: --requirement requirements/$(1).txt
ITSELF := --no-deps --no-build-isolation --editable .

# $(call install,<folder of the environment>,<what it is for>,<arguments of pip install>,<those of a second one>)
define install
@echo "Installing $(2) into $(1) (a minute or two the first time) ..."
@set -o pipefail; started=$$SECONDS; pip="$(1)/bin/python -m pip install --disable-pip-version-check --no-input"; \
if { $$pip $(3) $(if $(4),&& $$pip $(4)); } 2>&1 | tee $(1)/install.log \
    | while IFS= read -r line; do case "$$line" in (Collecting*|Building*|Installing*) printf .;; esac; done; \
then echo " done in $$((SECONDS - started)) s"; \
else echo; echo "error: pip could not install $(2); it said:" >&2; \
  { grep -E '^ *(ERROR|error):' $(1)/install.log || tail -n 8 $(1)/install.log; } | cut -c -160 | sed 's/^ */  /' >&2; \
  echo "  the whole log: $(1)/install.log" >&2; \
  echo "  once that is mended: make $(or $(MAKECMDGOALS),setup)" >&2; exit 1; fi
endef

# $(call environment,<folder>)
define environment
@for python in $(PYTHONS); do \
  if "$$python" -c '$(FITTING)' 2>/dev/null; then \
    echo "Making $(1) with $$("$$python" --version) ..."; \
    "$$python" -m venv --clear $(1) && exit 0; rm -rf $(1); exit 1; \
  fi; \
done; \
echo "error: ForgeMesh needs Python 3.11 to 3.14 with the venv module; tried: $(PYTHONS)" >&2; \
echo "  Debian, Ubuntu: sudo apt-get install python3 python3-venv" >&2; \
echo "  elsewhere:      make $(or $(MAKECMDGOALS),setup) PYTHON=/path/to/python3.13" >&2; exit 1
endef

.PHONY: help
help: ## What can be made
	@echo "usage: make <target>"; echo
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: .venv/.dev ## Make .venv with ForgeMesh and the tools to work on it
	@echo "Ready. Next: make run, or source .venv/bin/activate and forgemesh --help"

.PHONY: run
run: .venv/.runtime ## Start a mesh, run the weather example in it, stop it again (INPUT=file.csv: your own data)
	@$(BIN)/python examples/weather/demo.py $(if $(INPUT),--input "$(INPUT)")

.PHONY: up
up: .venv/.runtime ## Start a mesh with the weather plugins and keep it until Ctrl-C
	@$(BIN)/forgemesh up --config examples/weather/forgemesh.toml

.PHONY: test
test: .venv/.dev ## Run the tests, several at once (ARGS="-k circuit": what pytest takes; ARGS="-n 0": one at a time)
	@$(BIN)/pytest $(AT_ONCE) $(ARGS)

.PHONY: test-latest
test-latest: .venv-latest/bin/python ## Run the tests with the newest of everything that pyproject.toml allows: a report, which leaves .venv alone
	$(call install,.venv-latest,the newest of everything,--upgrade --upgrade-strategy eager --editable '.[dev]')
	@.venv-latest/bin/python requirements/compare.py
	@.venv-latest/bin/pytest $(AT_ONCE) $(ARGS)

.PHONY: lock
lock: .venv-lock/.ready ## Write requirements/*.txt anew after pyproject.toml has changed (ARGS=--upgrade: the newest of everything)
	@.venv-lock/bin/python requirements/lock.py $(ARGS)

.PHONY: soak
soak: .venv/.dev ## Simulate many executions, and many meshes, with crashes anywhere (SEEDS=100000)
	@FORGEMESH_SIMULATIONS=$(or $(SEEDS),100000) $(BIN)/pytest tests/unit/orchestrator/test_simulation.py $(ARGS)
	@FORGEMESH_SIMULATIONS=$(or $(SEEDS),100000) $(BIN)/pytest tests/component/orchestrator/test_mesh_simulation.py $(ARGS)

.PHONY: chaos
chaos: .venv/.dev ## Kill orchestrators and plugin hosts again and again under load (KILLS=n), then look for what was lost
	@FORGEMESH_KILLS=$(or $(KILLS),500) $(BIN)/pytest -s tests/mesh/test_chaos.py $(ARGS)
	@FORGEMESH_KILLS=$(or $(KILLS),500) $(BIN)/pytest -s tests/mesh/test_family_chaos.py $(ARGS)
	@FORGEMESH_KILLS=$(or $(KILLS),1000) $(BIN)/pytest -s tests/mesh/test_supervisor_chaos.py $(ARGS)
	@FORGEMESH_EVERY_WRITE=1 $(BIN)/pytest -s tests/mesh/test_every_write.py $(ARGS)

.PHONY: chaos-circuits
chaos-circuits: .venv/.dev ## Half-open instances and 1,000 waiting steps (20 times; ROUNDS=n), a dead balancer, no instances, for long
	@FORGEMESH_ROUNDS=$(or $(ROUNDS),20) $(BIN)/pytest -s tests/mesh/test_half_open.py $(ARGS)
	@FORGEMESH_DEAD_SECONDS=60 $(BIN)/pytest -s tests/mesh/test_balancer_death.py $(ARGS)
	@FORGEMESH_DOWN_SECONDS=20 $(BIN)/pytest -s tests/mesh/test_circuit_life.py $(ARGS)
	@FORGEMESH_CHAOS_SECONDS=600 $(BIN)/pytest -s tests/mesh/test_circuit_chaos.py $(ARGS)

.PHONY: abuse
abuse: .venv/.dev ## Let crowds at a mesh: idle connections, registrations, starts, watches, each in its full number
	@FORGEMESH_ABUSE=1 $(BIN)/pytest -s tests/mesh/test_abuse.py $(ARGS)

.PHONY: test-k8s
test-k8s: .venv/.dev ## Test on a real Kubernetes cluster of one node, made here for it (root, Linux, Go; ARGS: what pytest takes)
	@tests/k8s/lane.sh test $(ARGS)

.PHONY: test-k8s-full
test-k8s-full: .venv/.dev ## Test what takes long there: a load under kills and rollouts, and scaling by KEDA and by CPU (ARGS: as above)
	@tests/k8s/lane.sh full $(ARGS)

.PHONY: test-languages
test-languages: .venv/.dev ## Test the clients and plugins of other languages, as far as their toolchains are there (ARGS: what pytest takes)
	@tests/languages/lane.sh $(ARGS)

.PHONY: test-tracing
test-tracing: .venv/.dev ## Test what Jaeger, a Collector and Prometheus see of a mesh (Go builds the first two; ARGS: what pytest takes)
	@tests/tracing/lane.sh $(ARGS)

.PHONY: k8s-up
k8s-up: .venv/.dev ## Start a cluster of your own to play with, with this checkout's image in it
	@tests/k8s/lane.sh up

.PHONY: k8s-down
k8s-down: ## Stop the cluster that k8s-up has started
	@tests/k8s/lane.sh down

.PHONY: lint
lint: .venv/.dev ## Check style and protos
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/buf lint

.PHONY: format
format: .venv/.dev ## Mend what can be mended by itself
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .
	@$(BIN)/buf format --write protos

.PHONY: types
types: .venv/.dev ## Check types
	@$(BIN)/mypy

.PHONY: imports
imports: .venv/.dev ## Check who imports whom
	@$(BIN)/lint-imports --no-cache --no-logo

.PHONY: protos
protos: .venv-protos/.ready .venv/.dev ## Generate protos/gen, and what other languages need, from the protos
	@.venv-protos/bin/python protos/generate.py
	@PATH="$$PWD/$(BIN):$$PATH" clients/go/generate.sh
	@PATH="$$PWD/$(BIN):$$PATH" clients/node/generate.sh

.PHONY: protos-check
protos-check: .venv-protos/.ready ## Check that protos/gen is what the protos give
	@.venv-protos/bin/python protos/generate.py --check

.PHONY: dashboards
dashboards: .venv/.dev ## Generate the dashboard and the alert rules
	@$(BIN)/python k8s/dashboards/generate.py

.PHONY: schema
schema: .venv/.dev ## Generate the JSON Schema by which editors check workflows
	@$(BIN)/python docs/schema/generate.py

.PHONY: bench
bench: .venv/.runtime ## Measure what a step costs
	@$(BIN)/python -m bench.throughput $(ARGS)

.PHONY: bench-profile
bench-profile: .venv/.runtime ## Count what the orchestrator does for a step
	@$(BIN)/python -m bench.profile $(ARGS)

.PHONY: bench-baseline
bench-baseline: .venv/.runtime ## Measure the bare way of a step, as a measure for all others
	@$(BIN)/python -m bench.baseline.engine $(ARGS)

.PHONY: bench-latency
bench-latency: .venv/.runtime ## Measure how long one execution takes when nothing else runs
	@$(BIN)/python -m bench.latency $(ARGS)

.PHONY: bench-registry
bench-registry: .venv/.runtime ## Measure how long the registry takes to resolve large sets of plugins
	@$(BIN)/python -m bench.registry $(ARGS)

.PHONY: bench-watch
bench-watch: .venv/.runtime ## Measure how soon 200 watchers of 2,000 instances hear of a change
	@$(BIN)/python -m bench.watch $(ARGS)

.PHONY: bench-recovery
bench-recovery: .venv/.runtime ## Measure how soon 10,000 open executions go on after a crash
	@$(BIN)/python -m bench.recovery $(ARGS)

.PHONY: bench-hosts
bench-hosts: .venv/.runtime ## Measure how soon plugins that need one another serve, and how soon a kill is seen
	@$(BIN)/python -m bench.hosts $(ARGS)

.PHONY: bench-picks
bench-picks: .venv/.runtime ## Measure what a pick costs
	@$(BIN)/python -m bench.picks $(ARGS)

.PHONY: clean
clean: ## Remove the environments, caches and local meshes' data
	rm -rf .venv .venv-latest .venv-lock .venv-protos .forgemesh .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache build dist
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

.venv/bin/python .venv-latest/bin/python .venv-lock/bin/python .venv-protos/bin/python:
	$(call environment,$(@D:/bin=))

.venv/.runtime: pyproject.toml requirements/runtime.txt | .venv/bin/python
	$(call install,.venv,ForgeMesh,$(call LOCKED,runtime),$(ITSELF))
	@touch $@

.venv/.dev: pyproject.toml requirements/dev.txt | .venv/bin/python
	$(call install,.venv,ForgeMesh and its development tools,$(call LOCKED,dev),$(ITSELF))
	@touch .venv/.runtime $@

.venv-lock/.ready: Makefile | .venv-lock/bin/python
	$(call install,.venv-lock,the tool that locks,$(LOCK_TOOL))
	@touch $@

.venv-protos/.ready: requirements/protos.txt | .venv-protos/bin/python
	$(call install,.venv-protos,the proto generator,$(call LOCKED,protos))
	@touch $@
