# make demo: install, train the embedded demo, evaluate it, translate.  make test: lint, types, tests.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-slow lint configs clean

demo: .venv/installed
	$(BIN)/seq2seq-train run=runs/demo
	@echo; echo "How good is it? The test split:"
	@$(BIN)/seq2seq-evaluate run=runs/demo
	@echo; echo "A few sentences:"
	@printf '%s\n' "The old woman opens the door because the child is tired." "Does the teacher help three small girls?" \
	  "Tomorrow we will not sell the blue car." > runs/demo/sentences.en
	@$(BIN)/seq2seq-translate run=runs/demo input=runs/demo/sentences.en output=runs/demo/sentences.de
	@paste -d '\n' runs/demo/sentences.en runs/demo/sentences.de
	@echo; echo "What to type next:"
	@echo "  source .venv/bin/activate"
	@echo "  seq2seq-translate run=runs/demo                 # type English sentences of the demo's words, Ctrl-D to end"
	@echo "  tensorboard --logdir runs                       # curves, sample translations"
	@echo "  seq2seq-train --help                            # models, data, examples"
	@echo "  seq2seq-train model=transformer data=text_files data.source=en data.target=de \\"
	@echo "                data.train=corpus/train data.validation=corpus/val data.test=corpus/test run=runs/mine"

test: .venv/developer lint
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist worksteal --durations 10

test-slow: .venv/developer
	$(BIN)/python -m pytest -m slow

lint: .venv/developer
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

configs: .venv/installed
	$(BIN)/python scripts/write_configs.py

clean:
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed; name one: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	@touch $@

.venv/developer: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@
