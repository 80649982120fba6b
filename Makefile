# Everything this repository can do. Two commands are enough to begin: `make demo` and `make test`.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# What is built or downloaded once lives here, keyed by version and shared by all clones.
export OPSAGENT_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/opsagent

# Tools that only this repository uses, such as `python -m demo`.
export PYTHONPATH := $(CURDIR)/hack

# uv brings the Python packages. When it is not on the PATH, a copy of its own goes into the cache.
UV_VERSION := 0.13.9
UV := $(or $(shell command -v uv),$(OPSAGENT_CACHE)/uv-$(UV_VERSION)/bin/uv)
RUN := $(UV) run --frozen

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  \033[1m%-16s\033[0m %s\n", $$1, $$2}'

$(OPSAGENT_CACHE)/uv-$(UV_VERSION)/bin/uv:
	python3 -m venv $(OPSAGENT_CACHE)/uv-$(UV_VERSION)
	$(OPSAGENT_CACHE)/uv-$(UV_VERSION)/bin/pip install --quiet uv==$(UV_VERSION)

.PHONY: setup
setup: | $(UV) ## Install the Python packages into .venv
	@$(UV) sync --frozen --quiet

## --- See it run -------------------------------------------------------------

.PHONY: demo demo-tasks demo-down
demo: setup ## A real cluster, a real operator, real tasks
	@$(RUN) python -m demo

demo-tasks: setup ## Sixty more tasks for the demo
	@$(RUN) python -m demo enqueue

demo-down: setup ## Remove the demo and its cluster
	@$(RUN) python -m demo down

.PHONY: cluster-up cluster-down cluster-status
cluster-up: setup ## Start a local Kubernetes (PROVIDER=local|kind)
	@$(RUN) python -m devcluster up

cluster-down: setup ## Remove it without a trace
	@$(RUN) python -m devcluster down

cluster-status: setup ## Show what runs, and how to reach it
	@$(RUN) python -m devcluster status

.PHONY: run
run: setup ## Run the operator here against the current kubeconfig
	@$(RUN) opsagent-operator

## --- Change it --------------------------------------------------------------

.PHONY: check format lint types contracts unit generated generate
check: lint types contracts generated unit ## Format, lint, types, contracts, generated files, unit tests (< 1 min)

format: setup ## Format the code and apply safe fixes
	@$(RUN) ruff format --quiet
	@$(RUN) ruff check --fix

lint: setup ## Format and lint rules
	@$(RUN) ruff format --check
	@$(RUN) ruff check

types: setup ## Types, strictly
	@$(RUN) mypy

contracts: setup ## The walls between the rooms (docs/architecture.md)
	@$(RUN) lint-imports

unit: setup ## Unit tests
	@$(RUN) pytest tests/unit

generated: setup ## Generated files are up to date
	@$(RUN) python -m opsagent_operator.api --check

generate: setup ## Write the generated files anew
	@$(RUN) python -m opsagent_operator.api

.PHONY: bench-worker bench-crashes bench-scaling bench-report
bench-worker: setup ## Speed and cost of the worker beside others (12 min)
	@$(RUN) python -m benchmarks worker

bench-crashes: setup ## What a hundred crashes of each kind do to tasks (10 min)
	@$(RUN) python -m benchmarks crashes

bench-scaling: light-cluster node-cluster ## How the operator scales, and what it costs (30 min)
	@$(RUN) python -m benchmarks scaling

bench-report: setup ## Write the results into docs/benchmarks.md
	@$(RUN) python -m benchmarks report

.PHONY: test integration e2e other-servers
test: lint types contracts generated light-cluster node-cluster other-servers ## Everything: checks, unit, integration and end-to-end tests
	@$(RUN) pytest

integration: setup light-cluster ## Tests with a real Redis and a real API server
	@$(RUN) pytest tests/integration

e2e: setup node-cluster ## Tests with real pods
	@$(RUN) pytest tests/e2e

# Both were built without TLS.
ABOUT_SERVERS := tests/integration/queue tests/integration/operator/test_observing_queues.py
other-servers: setup ## What depends on the server, on Redis 6.2 and on Valkey
	@server=$$($(UV) run --quiet --locked --script hack/servers/redis_6_2.py); \
	REDIS_SERVER=$$server $(RUN) pytest $(ABOUT_SERVERS) -m 'not tls and not redis7'
	@server=$$($(UV) run --quiet --locked --script hack/servers/valkey.py); \
	REDIS_SERVER=$$server $(RUN) pytest $(ABOUT_SERVERS) -m 'not tls'

# What the tests stand on is built and installed before any test's time runs.
.PHONY: light-cluster node-cluster
light-cluster: setup
	@$(RUN) python -m devcluster build --mode light > /dev/null

node-cluster: setup
	@$(RUN) python -m devcluster build --mode node > /dev/null
	@$(RUN) python -m devcluster images > /dev/null
