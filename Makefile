# make demo    train on synthetic smears, score, and say where the pictures lie
# make test    the tests;  make test-slow: those that take long;  make parity: comparisons with torchvision and Keras
# make lint    ruff;  make types: pyright;  make docs: the site, into site/
# Everything runs in .venv, which is made on first use and brought up to date when pyproject.toml or constraints.txt change.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
DEMO ?= runs/demo

INSTALL = .venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable
INPUTS = pyproject.toml constraints.txt

.PHONY: demo test test-slow lint types parity docs

# A file's tests stay in one process, where they share what was compiled.
TEST = .venv/bin/python -m pytest --numprocesses logical --maxprocesses 8 --dist loadfile

demo: .venv/.installed
	.venv/bin/python train.py --config configs/smear_demo.py:starter --workdir $(DEMO)
	.venv/bin/python evaluate.py --workdir $(DEMO)

test: .venv/.installed-test
	$(TEST) $(ARGS)

test-slow: .venv/.installed-test
	$(TEST) -m slow $(ARGS)

lint: .venv/.installed-test
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

# flax, jax and optax leave many types unknown: the strict check lets values of unknown type pass.
types: .venv/.installed-test
	.venv/bin/pyright
	.venv/bin/pyright --project pyright-strict.json

parity: .venv/.installed-parity
	$(TEST) -m parity $(ARGS)

# The site needs nothing of the package but its source.
docs: .venv/.installed-docs
	.venv/bin/zensical build --strict

.venv/.installed-docs: $(INPUTS) | .venv/bin/python
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt zensical mkdocstrings-python
	touch $@

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.installed: $(INPUTS) | .venv/bin/python
	@echo "Installing wbcjax and what it runs on into .venv (a minute or two)"
	$(INSTALL) .
	touch $@

.venv/.installed-test: $(INPUTS) | .venv/bin/python
	@echo "Installing wbcjax and what its tests need into .venv (a minute or two)"
	$(INSTALL) '.[test]'
	touch $@

.venv/.installed-parity: $(INPUTS) | .venv/bin/python
	@echo "Installing torch, torchvision and Keras too (several GB)"
	$(INSTALL) '.[test,parity]'
	touch $@
