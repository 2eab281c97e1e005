# Everything runs in .venv, which the first target makes. `make help` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
MADE := $(VENV)/.made-here
PYTEST := $(BIN)/python -m pytest
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.DEFAULT_GOAL := help
.PHONY: help install demo test test-vllm test-epp test-istio test-slow test-starved test-charts test-ui test-prometheus docs lint format lock audit clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "vllm-simfleet needs Python >= 3.11, this is " + sys.version.split()[0])'
	@test -x $(BIN)/python || { echo "==> making $(VENV)"; test -e $(VENV) || ours=yes; \
	  $(PYTHON) -m venv $(VENV) || exit 1; test -z "$$ours" || echo '$(abspath $(VENV))' > $(MADE); }
	@echo "==> installing vllm-simfleet and its development tools into $(VENV) (once, about a minute)"
	@$(BIN)/python -m pip install --quiet --upgrade pip
	@$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $(STAMP)

install: $(STAMP)  ## the virtual environment with everything in it

demo: $(STAMP)  ## the page on this machine: fleet, Envoy, picker, load, verdict
	@$(BIN)/python -m gateway.commands.demo

# What measures time, or runs a whole stack, is not to share the machine with anything else.
test: $(STAMP)  ## the whole default suite
	@$(PYTEST) -n 3 --dist loadfile --ignore tests/e2e --ignore tests/docs
	@$(PYTEST) tests/e2e tests/docs

test-vllm: $(STAMP)  ## against the real vLLM scheduler (downloads its wheels, about 4 GB)
	@$(BIN)/python tests/simulator/engine/install_oracle.py
	@$(PYTEST) -m vllm

test-epp: $(STAMP)  ## against the real endpoint pickers in EPP_BIN or PATH
	@$(PYTEST) -m epp

test-istio: $(STAMP)  ## the page, and every field of 60 routes, against the istiod in ISTIOD_BIN or PATH
	@$(PYTEST) -m istio

test-slow: $(STAMP)  ## long runs: soak, every packaged scenario, false-positive trials
	@$(PYTEST) -m slow

test-starved: $(STAMP)  ## the default suite while its processes are stopped at random for a moment
	@$(BIN)/python tests/starved.py

test-charts: $(STAMP)  ## every chart under Helm 3 and 4 against schemas, CRDs and CEL rules
	@$(BIN)/python -m pip install --quiet "kubernetes-validate>=1.35" "common-expression-language>=0.10"
	@$(BIN)/python tests/charts/install_helm.py
	@$(PYTEST) -m charts tests/charts

test-ui: $(STAMP)  ## the live page in a real Chromium (Debian's, or playwright's own)
	@$(BIN)/python -m pip install --quiet --editable '.[ui-tests]'
	@command -v chromium chromium-browser google-chrome > /dev/null || test -n "$$CHROMIUM" \
	  || $(BIN)/playwright install --with-deps chromium || echo "no Chromium: its tests are skipped"
	@$(PYTEST) -m ui tests/ui

test-prometheus: $(STAMP)  ## dashboards and rules against a real Prometheus that scrapes the lab
	@$(PYTEST) -m prometheus tests/observability

docs: $(STAMP)  ## the documentation site into site/, strictly
	@$(BIN)/python -m pip install --quiet --editable '.[docs]'
	@$(BIN)/python docs/generate.py --check
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

lint: $(STAMP)  ## ruff and mypy --strict
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(STAMP)  ## ruff's formatter and safe fixes
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-python-downloads \
  --generate-hashes --only-binary :all: --no-annotate --custom-compile-command 'make lock' --upgrade

lock: $(STAMP)  ## the image's packages with their hashes, and that both platforms have wheels of them
	@$(BIN)/python -m pip install --quiet "uv>=0.9"
	@$(LOCK) pyproject.toml --extra kv-events --extra tokenizers --output-file deploy/image/runtime.txt
	@$(LOCK) --group pyproject.toml:image --output-file deploy/image/build.txt
	@for machine in x86_64 aarch64; do for file in runtime build; do \
	  $(BIN)/uv pip install --quiet --dry-run --target $(VENV)/none --python-version 3.12 --no-python-downloads \
	    --python-platform $$machine-manylinux_2_36 --only-binary :all: --require-hashes \
	    --requirement deploy/image/$$file.txt || exit 1; done; done

audit: $(STAMP)  ## known vulnerabilities of the image's packages; says so where the network is not to be had
	@$(BIN)/python -m pip install --quiet "pip-audit>=2.9" || echo "pip-audit could not be installed: nothing was audited"
	@$(BIN)/python .ci/audit.py deploy/image/runtime.txt deploy/image/build.txt

clean:  ## everything that make made
	rm -rf site .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@if test "$$(cat $(MADE) 2>/dev/null)" = '$(abspath $(VENV))' && test ! -L $(VENV); then rm -rf $(VENV); \
	elif test -e $(VENV); then echo "$(VENV) stays: it was not made by make"; fi
