# `make demo` and `make test` do all the set-up they need. Both work in one environment:
#
#   VENV         where it is; an existing one may be named, and a torch that is already in it is kept
#   PYTHON       the interpreter that a new environment is made with (3.11 or later)
#   TORCH_INDEX  the wheel index that torch comes from, where pip's default is not the wanted one
#   WORKERS      test processes
#   PYTEST_ARGS  more arguments for pytest, say PYTEST_ARGS='-m "not slow"'

VENV ?= .venv
PYTHON ?= python3
TORCH_INDEX ?=
WORKERS ?= 2
PYTEST_ARGS ?=

BIN = $(VENV)/bin
ENVIRONMENT = $(PYTHON) tools/environment.py --venv "$(VENV)" --torch-index "$(TORCH_INDEX)"

export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: help demo test lint format bench gallery notebooks wheel clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 18

demo:  ## install what is missing, then look at real losses on a real language model
	@$(ENVIRONMENT) demo
	@$(BIN)/qtarget-inspect demo

# The workers share the cores, so each computes with one thread.
test: export OMP_NUM_THREADS = 1
test: export TOKENIZERS_PARALLELISM = false
test: export HF_HUB_OFFLINE = 1
test: export MPLBACKEND = Agg
test:  ## install what is missing, then run the whole suite
	@$(ENVIRONMENT) demo dev
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup $(PYTEST_ARGS)

lint:  ## style, formatting and types
	@$(ENVIRONMENT) demo dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format:  ## mend style and formatting where that can be done mechanically
	@$(ENVIRONMENT) demo dev
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench:  ## time everything and refresh the tables in benchmarks/; about twenty minutes on an idle machine
	@$(ENVIRONMENT) demo
	@$(BIN)/python benchmarks/run.py

gallery:  ## draw the gallery anew: pictures, index.html and README.md; two minutes
	@$(ENVIRONMENT) demo
	@$(BIN)/qtarget-inspect gallery

notebooks:  ## open the notebooks in JupyterLab
	@$(ENVIRONMENT) demo dev notebook
	@$(BIN)/jupyter lab notebooks

wheel:  ## build the wheel into dist/
	@$(ENVIRONMENT) demo dev
	@$(BIN)/python -m build --wheel --no-isolation

clean:  ## remove what builds and runs wrote; the environment stays
	@rm -rf build dist out .demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -path '*/site-packages' -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
