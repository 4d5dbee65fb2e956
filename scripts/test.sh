#!/usr/bin/env bash
# Checks, then every test. What is skipped is counted by name at the end. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
make --no-print-directory check
exec .venv/bin/python -m pytest -q "$@"
