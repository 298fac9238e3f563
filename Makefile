# Two commands matter: `make demo` and `make test`. Each works alone in a fresh clone.
PYTHON ?= $(shell for p in python3.14 python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt
DEMO ?=
BENCH ?=
# What `make bench` measures, one after the other: a part of `storycast bench` each.
BENCH_PARTS := scale overhead throughput latency story policies

.DEFAULT_GOAL := help
.PHONY: help demo test soak bench bench-scale bench-whatsapp check docs clean

help:            ## list the targets
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /make \1\t/'

demo: $(VENV)/installed  ## send a story to 5,000 simulated recipients (DEMO="--recipients 500 --fast")
	@$(BIN)/storycast demo $(DEMO)

test: $(VENV)/test-tools  ## run all tests
	@$(BIN)/python -m pytest -n 2 --dist loadfile

soak: $(VENV)/test-tools  ## kill workers and servers many times over (about half an hour), and show the figures
	@$(BIN)/python -m pytest -m soak tests/faults tests/whatsapp

bench: $(VENV)/bench-tools  ## measure storycast on this machine; writes bench/ and docs/ (BENCH_PARTS="scale overhead" for some of it)
	@set -e; for part in $(BENCH_PARTS); do echo "== $$part"; $(BIN)/storycast bench $$part --out bench; done
	@$(BIN)/python -m ops.docs

bench-scale: $(VENV)/installed  ## what a recipient costs in lists of 10,000 to a million (BENCH="--sizes 1000,5000000 --json")
	@$(BIN)/storycast bench scale $(BENCH)

bench-whatsapp: $(VENV)/test-tools  ## what anchoring costs over the real client library (about four minutes); writes bench/ and docs/
	@mkdir -p bench
	@$(BIN)/storycast bench whatsapp --json > bench/whatsapp.draft
	@mv bench/whatsapp.draft bench/whatsapp.json
	@$(BIN)/python -m ops.docs

check: $(VENV)/test-tools  ## ruff, ruff format, mypy --strict, import-linter
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

docs: $(VENV)/test-tools  ## write the generated parts of docs/ and README.md anew
	$(BIN)/python -m ops.docs

clean:           ## remove what the other targets made
	rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis

$(VENV)/python:
	@test -n "$(PYTHON)" || { echo "storycast needs Python 3.11 or newer: none was found on PATH" >&2; exit 1; }
	@echo "making $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/installed: pyproject.toml constraints.txt | $(VENV)/python
	@echo "installing storycast (once)"
	@$(PIP) --editable .
	@touch $@

$(VENV)/bench-tools: pyproject.toml constraints.txt | $(VENV)/python
	@echo "installing storycast and what draws its charts (once)"
	@$(PIP) --editable '.[bench,peers]'
	@touch $@ $(VENV)/installed

$(VENV)/test-tools: pyproject.toml constraints.txt | $(VENV)/python
	@echo "installing storycast and its test tools (once)"
	@$(PIP) --editable '.[test]'
	@touch $@ $(VENV)/installed # the tools bring storycast along
