# `make help` lists the verbs. make run PYTHON=python3.12 chooses the interpreter; .venv is made once and kept.
.DEFAULT_GOAL := help
.PHONY: run test test-slow soak load fuzz bench crowd sizing profile reference check pictures alerts lock image release up down clean help
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
LOCK := $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command "make lock"
COMPOSE = docker compose --env-file deploy/compose/.env -f docker-compose.yml $(WITH:%=-f deploy/compose/%.yml)
VERSION = $(shell sed -n 's/^VERSION = "\(.*\)"/\1/p' proxy/version.py)
NAME = cachegate
MANY = $(shell $(PYTHON) -c "import os; print(len(os.sched_getaffinity(0)) * 3 // 2)")
IMAGE = --tag $(NAME) --tag $(NAME):$(VERSION) --build-arg VERSION=$(VERSION) --build-arg REVISION=$$(git rev-parse HEAD) $(BASE:%=--build-arg BASE=%) $(ARGS) .
ifeq ($(ADMIN_TOKEN),) # or else an empty one would beat that of deploy/compose/.env
unexport ADMIN_TOKEN
endif
NEEDS := needs Python 3.11 or later with its venv module (Debian, Ubuntu: apt install python3-venv), or name another: make PYTHON=python3.12 ...

run: .venv/.run ## the gateway on http://127.0.0.1:4000, before UPSTREAM=https://... or else a demo API; ARGS="--any --flag"
	@exec $(BIN)/python -m proxy serve $(if $(UPSTREAM),--upstream "$(UPSTREAM)",--demo) $(ARGS)

test: .venv/.test ## the whole suite but its slow part
	$(BIN)/python -m pytest -n auto -m "not slow" $(ARGS)

test-slow: .venv/.test ## the slow part: large bodies, floods, long stories
	$(BIN)/python -m pytest -n $(MANY) --dist loadscope --no-loadscope-reorder -m slow --timeout 900 $(ARGS)

soak: .venv/.test ## mixed traffic while one thing after the other fails; SECONDS=1800, and SEED=n for the same faults again
	$(BIN)/python -m tests.soak --seconds $(or $(SECONDS),180) $(if $(SEED),--seed $(SEED)) $(ARGS)

load: .venv/.test ## crowds, stampedes, purges and a Redis that dies, with bounds that fail the run: CASE=stampede SECONDS=10 (docs/load.md)
	@$(BIN)/python -m tests.load $(CASE:%=--case %) $(SECONDS:%=--seconds %) $(ARGS)

fuzz: .venv/.test ## coverage-guided, one family of parsers: TARGET=paths SECONDS=60; wants atheris (CONTRIBUTING.md)
	@$(BIN)/python -m tests.fuzz "$(TARGET)" "$(or $(SECONDS),60)" .fuzz

bench: .venv/.bench ## CPU of an answer beside nginx and Varnish: CASE=memory_hit ROUNDS=9 SECONDS=5 ENTRIES=1000000
	@$(BIN)/python -m bench $(CASE:%=--case %) $(ROUNDS:%=--rounds %) $(ENTRIES:%=--entries %) $(SECONDS:%=--seconds %) $(ARGS)

crowd: .venv/.bench ## a hundred instances on one Redis: purges, one fetch, what it costs to be there; ARGS="--instances 20"
	@$(BIN)/python -m bench.crowd $(ARGS)

sizing: .venv/.run ## what some traffic wants of CPU, memory and Redis: RATE=5000 MACHINES=8, by what was measured (docs/scaling.md)
	@$(BIN)/python -m bench.sizing_pages --rate $(or $(RATE),5000) $(MACHINES:%=--machines %) $(ARGS)

profile: .venv/.bench ## where the microseconds of an answer go: CASE=memory_hit, function by function
	@$(BIN)/python -m bench.profile $(CASE:%=--case %) $(ARGS)

reference: .venv/.run ## docs/configuration.md, made anew from the settings
	$(BIN)/python docs/reference.py

check: .venv/.test ## format, lint, strict types, floors
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy && $(BIN)/python -m pytest tests/test_layers.py

pictures: .venv/.test ## the dashboard before real traffic, for docs/pictures/; four minutes, wants chromium
	$(BIN)/python -m tests.pictures

alerts: $(BIN)/promtool ## the rules of deploy/prometheus, tested by promtool; out of Debian's package where it is missing
	@cd deploy/prometheus && $(CURDIR)/$< test rules alerts.test.yml

lock: .venv/.run ## choose the newest versions that pyproject.toml allows, and their hashes
	$(PIP) uv && echo "setuptools>=77" | $(LOCK) pyproject.toml - -o requirements.lock
	echo "setuptools>=77" | $(LOCK) --extra test -c requirements.lock pyproject.toml - -o requirements-test.lock
	echo "setuptools>=77" | $(LOCK) --extra otel -c requirements.lock -c requirements-test.lock pyproject.toml - -o requirements-otel.lock
	$(LOCK) --extra bench -c requirements.lock -c requirements-test.lock pyproject.toml -o requirements-bench.lock
	$(LOCK) --extra deploy -c requirements.lock -c requirements-test.lock pyproject.toml -o requirements-deploy.lock

up: deploy/compose/.env ## gateway, Redis and a demo API in containers, before UPSTREAM=https://...; WITH=monitoring or another of deploy/compose, PROFILE=two for two gateways
	@$(if $(UPSTREAM),UPSTREAM_URL="$(UPSTREAM)") $(COMPOSE) $(PROFILE:%=--profile %) up --build --detach --wait
	@sed -n 's/^ADMIN_TOKEN=//p' $< | { read -r token; token="$${ADMIN_TOKEN:-$$token}"; printf "$$(cat deploy/compose/asking.txt)\n" "$$token" "$$token"; }

down: deploy/compose/.env ## ends those containers; what they kept stays
	@$(COMPOSE) --profile two down --remove-orphans

image: ## the image `cachegate`, by docker or, where no daemon answers, by buildah; BASE=python:3.12-slim@sha256:... (docs/deploying.md)
	@if docker info >/dev/null 2>&1; then docker build $(IMAGE); else buildah build --isolation chroot --format docker $(IMAGE); fi

release: .venv/.deploy ## dist/: wheel, sdist, what they stand on (CycloneDX), checksums, and with SIGN=key their signature (docs/releasing.md)
	@deploy/release/make $(SIGN)

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

.venv/.bench: .venv/.run requirements-bench.lock
	@echo "installing what the bench needs (once)"; $(PIP) --require-hashes -r requirements-bench.lock && touch $@

.venv/.deploy: .venv/.test requirements-deploy.lock
	@echo "installing what looks at deploy/ (once)"; $(PIP) --require-hashes -r requirements-deploy.lock && touch $@

deploy/compose/.env:
	@umask 077 && $(PYTHON) -c 'import secrets; print("ADMIN_TOKEN=" + secrets.token_hex(24))' > $@

$(BIN)/promtool: .venv/.run
	@ln -s "$$(command -v promtool)" $@ 2>/dev/null || { cd .venv && apt-get download prometheus && dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x -C bin --strip-components=3 ./usr/bin/promtool && rm prometheus_*.deb; }

KUBECTL = kubectl_1.32.3+ds-2_amd64.deb
$(BIN)/kubectl: .venv/.run
	@ln -s "$$(command -v kubectl)" $@ 2>/dev/null || { cd .venv && curl -sSfO http://deb.debian.org/debian/pool/main/k/kubernetes/$(KUBECTL) && printf '%s  %s\n' 9825aaf4c14913027aae04af8688e580459f781c829bd5de00cc4dc2cc5a867f $(KUBECTL) | sha256sum --check --quiet && dpkg-deb --fsys-tarfile $(KUBECTL) | tar -x -C bin --strip-components=3 ./usr/bin/kubectl && rm $(KUBECTL); }
