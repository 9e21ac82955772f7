# Needs make and python3 (3.11 or newer, with venv), nothing else. `make help` lists what there is.

PYTHON ?= python3
PY := .venv/bin/python
ARGS ?=
.DEFAULT_GOAL := help
.PHONY: help run test chaos matrix check bench lock clean clean-all

# Values with which production would start; `make check` looks at the settings with them.
PRODUCTION := PMS_ENV_FILE=/dev/null PMS_ENV=production DEBUG=False ALLOWED_HOSTS=pms.example \
	SECRET_KEY=a-sample-0123456789-abcdefghijklmnopqrstuvwxyz-ABCDEFGHIJ BASE_URL=https://pms.example \
	DATABASE_URL=postgres://pms:sample@127.0.0.1:1/pms HUBTEL_CLIENT_ID=sample HUBTEL_CLIENT_SECRET=sample \
	EMAIL_HOST=mail.example DEFAULT_FROM_EMAIL=pms@mail.example

python = $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	{ echo 'Python 3.11 or newer is needed, and $(PYTHON) is not. Fix: install it, or name it: make $@ PYTHON=python3.12' >&2; exit 1; }

help: ## this list
	@echo 'YEA Poultry Management System. First time: make run'
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

run: ## the whole system on this machine, until Ctrl-C (PORT=8001: another port)
	@$(python)
	@$(PYTHON) -m stack.venv run
	@exec $(PY) -m stack

test: ## all tests, on a PostgreSQL and a Redis of their own (ARGS="tests/unit -k phones": some)
	@$(python)
	@$(PYTHON) -m stack.venv dev
	@exec $(PY) -m stack.testrun $(ARGS)

chaos: ## the randomised fault test, five minutes (ARGS="--seed 7 --minutes 20")
	@$(python)
	@$(PYTHON) -m stack.venv dev
	@exec $(PY) -m tests.chaos $(ARGS)

matrix: ## the fault matrix of sending, half an hour (ARGS="--only killed --doors sms": some of it)
	@$(python)
	@$(PYTHON) -m stack.venv dev
	@exec $(PY) -m tests.matrix $(ARGS)

check: ## style, types, import contracts, migrations, production settings
	@$(python)
	@$(PYTHON) -m stack.venv dev
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy --strict .
	.venv/bin/lint-imports
	$(PRODUCTION) $(PY) -W ignore::RuntimeWarning manage.py makemigrations --check --dry-run
	$(PRODUCTION) $(PY) manage.py check --deploy --fail-level WARNING

bench: ## the benchmarks
	@$(python)
	@$(PYTHON) -m stack.venv dev
	@exec $(PY) -m bench.run $(ARGS)

lock: ## requirements*.txt anew from requirements*.in, with hashes (ARGS=--upgrade: newest versions)
	@$(python)
	@$(PYTHON) -m stack.venv dev
	for name in requirements requirements-run requirements-dev requirements-bench; do \
		.venv/bin/uv pip compile --generate-hashes --universal --python-version 3.11 --no-emit-index-url \
			--no-emit-find-links --no-header --quiet $(ARGS) $$name.in -o $$name.txt || exit 1; \
	done

clean: ## removes var/: the databases of make run and all state
	@$(PYTHON) -m stack.lock
	rm -rf var

clean-all: clean ## removes .venv and everything made, but not .env
	rm -rf .venv staticfiles .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .grimp_cache .hypothesis
