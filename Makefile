# Run `make` to see the targets. Each does its own set-up.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PY := .venv/bin/python
.PHONY: help setup setup-test demo demo-docker test check fix bench lock docs

help:  ## show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup:  ## leave the environment in .venv, with kap in .venv/bin
	@scripts/setup.sh run

setup-test:
	@scripts/setup.sh test

demo: setup  ## run an agent-like script in a capsule and show what is refused, and why (no container engine)
	@scripts/demo.sh

demo-docker: setup-test  ## the same through a real dev container (needs a Docker engine)
	@scripts/demo-docker.sh

test: setup-test  ## every check and every test, the real-Docker ones too
	@scripts/test.sh

check:  ## lint, types, import direction
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-cache

fix:  ## format and apply safe lint fixes
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

bench: setup-test  ## measure beside squid, tinyproxy and dnsmasq, and write docs/benchmarks.md
	$(PY) bench/run.py --write

docs:  ## regenerate what is generated: docs/reference.md, docs/codes/README.md, the picture
	$(PY) scripts/reference.py
	$(PY) scripts/codes.py
	$(PY) scripts/picture.py

lock:  ## lock the requirements anew
	uv pip compile -q pyproject.toml --extra host --extra sidecar --extra lsp --extra dev --universal --python-version 3.11 --generate-hashes --no-header -o requirements/dev.txt
	uv pip compile -q pyproject.toml --extra host --universal --python-version 3.11 --generate-hashes --no-header -o requirements/host.txt
	uv pip compile -q pyproject.toml --extra sidecar --python-version 3.13 --python-platform linux --generate-hashes --no-header -o requirements/sidecar.txt
	echo uv | uv pip compile -q - --universal --python-version 3.11 --generate-hashes --no-header --no-annotate -o requirements/uv.txt
