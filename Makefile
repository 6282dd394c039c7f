# Everything from a clean clone: each target sets up what it needs first.

SHELL := /bin/sh
BIN := .venv/bin
STAMP := .venv/stamp
JOBS ?= 2

.PHONY: help setup demo page docs test test-slow test-synth lint format lock clean

help:
	@echo "make setup       .venv with the exact versions of requirements.lock; checks what the system must bring"
	@echo "make demo        the whole chain on real data: train, quantise, compile, simulate, compare"
	@echo "make page        a page that classifies digits you draw, on the gateware itself: build/page/index.html"
	@echo "make docs        the site: pages, executed notebooks, reference; build/site/index.html"
	@echo "make test        the tests, on $(JOBS) processes (JOBS=n)"
	@echo "make test-slow   those that take minutes each"
	@echo "make test-synth  those that place and route whole boards: hours"
	@echo "make lint        ruff and basedpyright"
	@echo "make format      ruff format, and what ruff can repair"
	@echo "make lock        requirements.lock anew from pyproject.toml"
	@echo "make clean       removes build/"

setup: $(STAMP)

# Runs again whenever a lock or the packages' description changes.
$(STAMP): requirements.lock requirements-data.lock pyproject.toml setup.sh
	@PYTHON="$(PYTHON)" sh setup.sh

demo: $(STAMP)
	$(BIN)/fdht demo

docs: $(STAMP)
	$(BIN)/python -m docs.website

page: $(STAMP)
	$(BIN)/fdht export --web digits -o build/page

test: $(STAMP)
	$(BIN)/pytest -n $(JOBS) --dist worksteal

test-slow: $(STAMP)
	$(BIN)/pytest -n $(JOBS) --dist worksteal -m "slow and not synth"

test-synth: $(STAMP)
	$(BIN)/pytest -n $(JOBS) --dist worksteal -m synth

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock:
	@PYTHON="$(PYTHON)" sh setup.sh --lock

clean:
	rm -rf build
