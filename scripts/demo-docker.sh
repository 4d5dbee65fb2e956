#!/usr/bin/env bash
# The demo with Docker: test-projects/compose-with-db as a real dev container, brought up by the devcontainer CLI, with an agent-like
# script inside. Then why what was refused was refused, and `kap status`. Leaves nothing but images. Where no engine answers and this is
# root, an engine of the tests' own is started in a network namespace, with a small internet of its own behind it.
set -euo pipefail
cd "$(dirname "$0")/.."
[ -x .venv/bin/kap ] || { echo "demo: kap is not set up; run: make setup" >&2; exit 69; }
exec .venv/bin/python scripts/demo_docker.py "$@"
