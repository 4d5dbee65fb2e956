#!/usr/bin/env bash
# Fetches the wheels of the sidecar's locked requirements into a directory, so that its image can be built without a network.
# Usage: scripts/sidecar-wheels.sh [DIR]     default ~/.cache/kap-test/wheels-<lock>; prints the directory
set -euo pipefail
cd "$(dirname "$0")/.."

cache=${XDG_CACHE_HOME:-$HOME/.cache}/kap-test
wheels=${1:-$cache/wheels-$(sha256sum requirements/sidecar.txt | cut -c1-12)}
if [ ! -e "$wheels/complete" ]; then
  mkdir -p "$wheels" "$cache"
  pip=$cache/pip/bin/python
  [ -x "$pip" ] && "$pip" -m pip --version >/dev/null 2>&1 || .venv/bin/python -m venv --clear "$cache/pip" >&2
  # The image is Python 3.13 on glibc of this machine's kind, whatever Python runs this.
  machine=$(uname -m)
  platforms=()
  for glibc in 40 39 38 37 36 35 34 33 32 31 30 28 27 26 24 17; do platforms+=(--platform "manylinux_2_${glibc}_$machine"); done
  said=$("$pip" -m pip download -q --disable-pip-version-check --no-deps --only-binary :all: --require-hashes --implementation cp \
    --python-version 3.13 --abi cp313 --abi abi3 --abi none "${platforms[@]}" --platform "manylinux2014_$machine" --platform any \
    -d "$wheels" -r requirements/sidecar.txt 2>&1) || { printf '%s\n' "$said" >&2; exit 1; }
  touch "$wheels/complete"
fi
echo "$wheels"
