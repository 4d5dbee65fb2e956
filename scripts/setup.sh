#!/usr/bin/env bash
# Leaves the environment in .venv of this checkout, with `kap` in .venv/bin. Usage: scripts/setup.sh [run|test]
#   run   what `kap run` and `make demo` need (default)
#   test  also what the tests need (Debian packages for namespaces and real clients, the devcontainer CLI)
# Says what it installs; asks before anything that needs root, except in CI (CI set), with KAP_YES=1, or where nobody can answer
# and it is root already.
set -euo pipefail
cd "$(dirname "$0")/.."
what=${1:-run}

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$1" >&2; shift; for line in "$@"; do printf '  %s\n' "$line" >&2; done; exit 69; }

# --- Debian packages -------------------------------------------------------------------------------------------------
need=()
want() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || need+=("$2"); }
python_minor() { "$1" -c 'import sys, venv, ensurepip; print(sys.version_info[1] if sys.version_info[0] == 3 else 0)' 2>/dev/null || echo 0; }

want bwrap bubblewrap
if [ "$(python_minor python3)" -lt 11 ]; then need+=(python3 python3-venv); fi
[ -e /etc/ssl/certs/ca-certificates.crt ] || need+=(ca-certificates)
if [ "$what" = test ]; then
  want ip iproute2
  want curl curl
  want git git
  want gcc gcc
  want unshare util-linux
  want iptables iptables
  want openssl openssl
  want npm npm
fi

if [ ${#need[@]} -gt 0 ]; then
  command -v apt-get >/dev/null 2>&1 || die "these packages are missing: ${need[*]}" "this script installs packages on Debian and Ubuntu only; install them with your package manager and run it again"
  say "Debian packages to install (needs root): ${need[*]}"
  as_root=()
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null 2>&1 || die "root is needed to install: ${need[*]}" "run as root: apt-get install -y --no-install-recommends ${need[*]}" "then run this again"
    as_root=(sudo)
  fi
  if [ -z "${CI:-}" ] && [ -z "${KAP_YES:-}" ]; then
    if [ -t 0 ]; then
      read -r -p "setup: install them now with apt-get? [y/N] " answer
      case "$answer" in [yY]*) ;; *) die "nothing was installed" "run: apt-get install -y --no-install-recommends ${need[*]}" ;; esac
    elif [ "$(id -u)" != 0 ]; then
      die "root is needed and nobody can be asked (standard input is no terminal)" "run: sudo apt-get install -y --no-install-recommends ${need[*]}" "or run again with KAP_YES=1"
    fi
  fi
  export DEBIAN_FRONTEND=noninteractive
  "${as_root[@]}" apt-get -qq update
  "${as_root[@]}" apt-get -qq install -y --no-install-recommends "${need[@]}" >/dev/null
fi

# --- Python ----------------------------------------------------------------------------------------------------------
# 3.13 or newer where there is one (the sidecar needs it), else 3.11 or 3.12 (the host half).
find_python() {
  local best="" best_minor=0 candidate minor
  for candidate in python3.14 python3.13 "$HOME"/.pyenv/versions/3.1[3-9]*/bin/python3 "$HOME"/.local/share/uv/python/cpython-3.1[3-9]*/bin/python3 python3.12 python3.11 python3; do
    command -v "$candidate" >/dev/null 2>&1 || continue
    minor=$(python_minor "$candidate")
    if [ "$minor" -gt "$best_minor" ] && [ "$minor" -le 14 ]; then best=$(command -v "$candidate"); best_minor=$minor; fi
    [ "$best_minor" -ge 13 ] && break
  done
  echo "$best"
}

if ! .venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  python=$(find_python)
  [ -n "$python" ] || die "no Python 3.11 or newer was found" "install python3 and python3-venv, then run this again"
  if [ "$(python_minor "$python")" -lt 13 ] && [ -z "${KAP_NO_UV:-}" ]; then
    say "Python 3.13 is not here (the sidecar's proxy frame needs it); trying to get one with uv, for this user only"
    rm -rf .cache/uv-tool
    if "$python" -m venv .cache/uv-tool && .cache/uv-tool/bin/pip -q install uv >/dev/null 2>&1 && .cache/uv-tool/bin/uv -q python install 3.13 >/dev/null 2>&1; then
      python=$(.cache/uv-tool/bin/uv python find --managed-python 3.13 2>/dev/null || echo "$python")
    else
      say "Python 3.13 cannot be had here; going on with $("$python" -V). The host half works; tests of the sidecar's frame are skipped and counted"
    fi
  fi
  say "creating .venv with $("$python" -V) ($python)"
  rm -rf .venv
  "$python" -m venv .venv
fi

# --- Python packages: locked and hashed; nothing is fetched again when the lock has not changed ------------------------
stamp=.venv/.kap-requirements
lock=$(cat requirements/dev.txt pyproject.toml | sha256sum | cut -d' ' -f1)
if [ "$(cat $stamp 2>/dev/null)" != "$lock" ]; then
  say "installing the locked Python packages into .venv"
  .venv/bin/python -m pip --version >/dev/null 2>&1 || .venv/bin/python -m ensurepip >/dev/null  # a .venv that uv made has no pip
  .venv/bin/python -m pip -qq install --disable-pip-version-check --require-hashes -r requirements/dev.txt
  .venv/bin/python -m pip -qq install --disable-pip-version-check --no-deps --no-build-isolation -e .
  echo "$lock" > $stamp
fi
say "done: $(.venv/bin/kap --version) in .venv/bin, $(.venv/bin/python -V)"
