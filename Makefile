# make demo    render a short drive, upscale it, compare it with the truth (VIDEO=path: your own video instead)
# make test    install what tests need, and run them
# Also: make test-slow, make lint, make bench.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
BASE := .venv/.installed-base
TEST := .venv/.installed-test

.PHONY: demo test test-slow lint bench

demo: $(BASE)
	@$(BIN)/python -m training.demo $(if $(VIDEO),"$(VIDEO)")

test: $(TEST)
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-slow: $(TEST)
	@$(BIN)/python -m pytest -m slow

lint: $(TEST)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(TEST)
	@$(BIN)/python -m benchmarks

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "vidsr needs Python 3.11 or later; name one: make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -m venv .venv \
		|| { echo "Python's venv module is missing; on Debian and Ubuntu: apt-get install python3-venv"; rm -rf .venv; exit 1; }

# torch goes first and alone: in one step with the rest, pip may take another build of it.
$(BASE): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing vidsr into .venv; the first time takes some minutes"
	@$(PIP) torch
	@$(PIP) -e ".[openvino]"
	@touch $@

$(TEST): pyproject.toml constraints.txt $(BASE)
	@echo "Installing what tests need into .venv"
	@$(PIP) -e ".[test]"
	@touch $@
