# Each target creates .venv and installs what it needs. Start with `make demo`.
#   PYTHON=python3.12   the Python for .venv, 3.11 or newer
#   TORCH_ARGS=…        arguments for pip to find torch, see the README
PYTHON ?= python3
TORCH_ARGS ?=

BIN := .venv/bin
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check --no-input -c constraints.txt
MODELS := rag_vqa/demo/models
export HF_HUB_OFFLINE = 1

.PHONY: demo test nightly check format readme demo-models clean
.DELETE_ON_ERROR:

demo: .venv/stamp-cpu
	$(BIN)/rag-vqa demo

test: .venv/stamp-dev
	$(BIN)/python -m pytest

# Takes minutes to hours: the long fault tests, and a cluster of two Ray nodes.
nightly: .venv/stamp-dev
	$(PIP) -e '.[cpu,dev,ray]'
	$(BIN)/python -m pytest -m nightly --timeout 0

# CI runs this.
check: .venv/stamp-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MAKE) --no-print-directory test

format: .venv/stamp-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Writes docs/reference.md and the tree of files in docs/layout.md from the docstrings.
readme: .venv/stamp-dev
	$(BIN)/python .ci/tree.py
	$(BIN)/python .ci/reference.py

# Takes hours on a CPU; continues where it was interrupted.
demo-models: .venv/stamp-cpu
	$(BIN)/python -m rag_vqa.demo.train_tower --out build/tower
	$(BIN)/rag-vqa train --config rag_vqa/demo/retriever.yaml
	$(BIN)/python -m rag_vqa.demo.train_reader --out build/reader --tower build/tower
	cp build/tower/log.jsonl $(MODELS)/tower/tower.jsonl
	cp build/retriever/last/* $(MODELS)/retriever
	cp build/retriever/log.jsonl $(MODELS)/retriever/ret.jsonl
	cp build/reader/*.json build/reader/*.jinja build/reader/*.safetensors $(MODELS)/reader
	cp build/reader/log.jsonl $(MODELS)/reader/reader.jsonl

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Installs torch first and alone: only torch comes from the index that TORCH_ARGS names.
.venv/stamp-torch: constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is missing or older than 3.11. Use another: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	@echo "Installing into .venv, once. torch is the largest part; this takes minutes."
	$(PIP) $(TORCH_ARGS) "$$(grep '^torch==' constraints.txt)"
	@touch $@

.venv/stamp-cpu: .venv/stamp-torch pyproject.toml setup.py $(wildcard retriever/index/native/*)
	$(PIP) -e '.[cpu]'
	@touch $@

.venv/stamp-dev: .venv/stamp-cpu
	$(PIP) -e '.[cpu,dev]'
	@touch $@
