# `make demo` and `make test` each make the environment they need; nothing else has to be installed first.
PYTHON ?= python3
ENVIRONMENT := .venv
BIN := $(ENVIRONMENT)/bin

.PHONY: demo test test-all lint pytest stubs docs clean

demo: $(ENVIRONMENT)/installed
	$(BIN)/keras-cnns sweep densenet --data digits --trials 10 --epochs 8 --experiment demo --plot demo.png

# One test of every guarantee; `test-all` adds those that repeat it for further networks and options.
# The linters run beside the tests, which often wait for processes that they start.
test: $(ENVIRONMENT)/tested
	@$(MAKE) --no-print-directory --jobs 2 lint pytest SELECTED='not exhaustive'

test-all: $(ENVIRONMENT)/tested
	@$(MAKE) --no-print-directory --jobs 2 lint pytest

pytest: $(ENVIRONMENT)/tested
	$(BIN)/python -m pytest --numprocesses 2 --dist loadgroup -m '$(SELECTED)'

lint: $(ENVIRONMENT)/tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# What editors and type checkers know about the public API; a test compares it with the code.
stubs: $(ENVIRONMENT)/tested
	$(BIN)/python scripts/stubs.py

docs: $(ENVIRONMENT)/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 TF_CPP_MIN_LOG_LEVEL=3 $(BIN)/mkdocs build --strict

$(ENVIRONMENT)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "keras-cnns needs Python 3.11 or newer")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(ENVIRONMENT)
	$(BIN)/python -m pip install --constraint constraints.txt --editable .
	@touch $@

$(ENVIRONMENT)/tested: $(ENVIRONMENT)/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test,docs]'
	@touch $@

clean:
	rm -rf $(ENVIRONMENT) build site *.egg-info
