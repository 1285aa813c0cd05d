# `make help` lists the verbs. make run PYTHON=python3.12 chooses the interpreter; .venv is made once and kept.
.DEFAULT_GOAL := help
.PHONY: run test test-slow soak fuzz check lock up down clean help
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
LOCK := $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command "make lock"
COMPOSE = docker compose --env-file deploy/compose/.env -f docker-compose.yml $(WITH:%=-f deploy/compose/%.yml)
NEEDS := needs Python 3.11 or later with its venv module (Debian, Ubuntu: apt install python3-venv), or name another: make PYTHON=python3.12 ...

run: .venv/.run ## the gateway on http://127.0.0.1:4000, before UPSTREAM=https://... or else a demo API; ARGS="--any --flag"
	@exec $(BIN)/python -m proxy serve $(if $(UPSTREAM),--upstream "$(UPSTREAM)",--demo) $(ARGS)

test: .venv/.test ## the whole suite but its slow part
	$(BIN)/python -m pytest -n auto -m "not slow" $(ARGS)

test-slow: .venv/.test ## the slow part: large bodies, floods, long stories
	$(BIN)/python -m pytest -n auto -m slow --timeout 900 $(ARGS)

soak: .venv/.test ## mixed traffic while one thing after the other fails; SECONDS=1800, and SEED=n for the same faults again
	$(BIN)/python -m tests.soak --seconds $(or $(SECONDS),180) $(if $(SEED),--seed $(SEED)) $(ARGS)

fuzz: .venv/.test ## coverage-guided, one family of parsers: TARGET=paths SECONDS=60; wants atheris (CONTRIBUTING.md)
	@$(BIN)/python -m tests.fuzz "$(TARGET)" "$(or $(SECONDS),60)" .fuzz

check: .venv/.test ## format, lint, strict types, floors
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy && $(BIN)/python -m pytest tests/test_layers.py

lock: .venv/.run ## choose the newest versions that pyproject.toml allows, and their hashes
	$(PIP) uv && echo "setuptools>=77" | $(LOCK) pyproject.toml - -o requirements.lock
	echo "setuptools>=77" | $(LOCK) --extra test -c requirements.lock pyproject.toml - -o requirements-test.lock

up: deploy/compose/.env ## gateway, Redis and a demo API in containers, before UPSTREAM=https://...; WITH=sentinel or another of deploy/compose
	@$(if $(UPSTREAM),UPSTREAM_URL="$(UPSTREAM)") $(COMPOSE) up --build --detach --wait
	@sed -n 's/^ADMIN_TOKEN=//p' $< | { read -r token; printf "$$(cat deploy/compose/asking.txt)\n" "$$token" "$$token"; }

down: deploy/compose/.env ## ends those containers; what they kept stays
	@$(COMPOSE) down --remove-orphans

clean: ## everything that was made here, the cache directory too
	rm -rf .venv .fuzz .cachegate build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.venv/.run: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo "make: $(PYTHON) $(NEEDS)" >&2; exit 2; }
	@echo "installing into .venv (once)"; $(PYTHON) -m venv .venv
	@$(PIP) --require-hashes -r requirements.lock && $(PIP) --no-deps --no-build-isolation -e . && touch $@

.venv/.test: .venv/.run requirements-test.lock
	@echo "installing what the tests need (once)"; $(PIP) --require-hashes -r requirements-test.lock && touch $@

deploy/compose/.env:
	@umask 077 && $(PYTHON) -c 'import secrets; print("ADMIN_TOKEN=" + secrets.token_hex(24))' > $@
