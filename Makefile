# The commands of this repository. They need Python 3.11 or newer with venv, and make; everything else goes into .venv.

PYTHON ?= python3
BIN := .venv/bin
# Arguments for `make demo`, for instance ARGS=--check.
ARGS ?=
# Arguments for pytest, for instance TESTS=tests/media.
TESTS ?=
# Test processes side by side: one more than there are cores, because they wait for a third of their time.
JOBS ?= $(shell expr $$(nproc) + 1)

# The tests start the program a hundred times: without compiled files each start would compile all of it.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test check fmt programs pytest constraints clean

help: ## Print this list.
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 18

demo: .venv/.stamp ## Start everything with a test picture, until Ctrl-C. ARGS=--check plays every URL and ends.
	@$(BIN)/python -m headwater demo $(ARGS)

test: check programs pytest ## Run everything that CI runs: check, then all tests.

check: .venv/.stamp-dev ## Check formatting, lint, types and the direction of imports.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

pytest: .venv/.stamp-dev ## Run the tests alone. TESTS=tests/media runs some of them.
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup -m "not browser" $(TESTS)
	$(BIN)/python -m pytest -m browser $(TESTS) || test $$? = 5 -a -n "$(TESTS)"

fmt: .venv/.stamp-dev ## Format the code and repair what lint can repair.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

programs: ## Install the programs that only tests need (as root on Debian), or say which are missing.
	@tools/test-programs

constraints: ## Write constraints.txt anew from the newest versions that pyproject.toml allows.
	@tools/renew-constraints $(PYTHON)

clean: ## Remove everything that make made.
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist test-artifacts

# The run-time alone, so that the demo starts soon on a fresh machine.
.venv/.stamp: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Headwater needs Python 3.11 or newer; say which with make PYTHON=...") if sys.version_info < (3, 11) else None'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

.venv/.stamp-dev: .venv/.stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
