#!/usr/bin/env bash
# Leaves the environment in .venv of this checkout, with `kap` in .venv/bin. Usage: scripts/setup.sh [run|test]
#   run   what `kap run` and `make demo` need (default)
#   test  also what the tests need (Debian packages for namespaces, real clients and an engine of the tests' own)
# Says what it installs; asks before anything that needs root, except in CI (CI set), with KAP_YES=1, or where nobody can answer
# and it is root already. KAP_PYTHON=PATH: the Python to use. KAP_NO_UV=1: do not look for a newer Python than the machine has.
set -euo pipefail
cd "$(dirname "$0")/.."
what=${1:-run}

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$1" >&2; shift; for line in "$@"; do printf '  %s\n' "$line" >&2; done; exit 69; }
yes() { case ${1:-} in "" | 0 | no | false) return 1 ;; esac; }

case $what in run | test) ;; *) die "unknown argument: $what" "usage: scripts/setup.sh [run|test]" ;; esac
[ "$(uname -s)" = Linux ] || die "kap runs on Linux, and this is $(uname -s)" "use a Linux machine, a virtual one or WSL 2"
[ -w . ] || die "this checkout cannot be written to: $PWD" "run this as its owner, or clone it where you may write"

# --- What is missing -------------------------------------------------------------------------------------------------
# The minor version of a Python 3 that can make environments, else 0.
python_minor() { "$1" -c 'import sys, venv, ensurepip; print(sys.version_info[1] if sys.version_info[0] == 3 else 0)' 2>/dev/null || echo 0; }

# Prints a Python: 3.13 or newer where there is one (the sidecar needs it), else 3.12 or 3.11 (the host half), else nothing.
find_python() {
  local best="" best_minor=10 candidate minor
  if [ -n "${KAP_PYTHON:-}" ]; then
    minor=$(python_minor "$KAP_PYTHON")
    if [ "$minor" -ge 11 ] && [ "$minor" -le 14 ]; then command -v "$KAP_PYTHON"; fi
    return 0
  fi
  for candidate in python3.14 python3.13 "${HOME:-}"/.pyenv/versions/3.1[34].*/bin/python3 \
    "${HOME:-}"/.local/share/uv/python/cpython-3.1[34].*/bin/python3 python3 python3.12 python3.11 /usr/bin/python3; do
    command -v "$candidate" >/dev/null 2>&1 || continue
    minor=$(python_minor "$candidate")
    if [ "$minor" -gt "$best_minor" ] && [ "$minor" -le 14 ]; then best=$(command -v "$candidate"); best_minor=$minor; fi
    if [ "$best_minor" -ge 13 ]; then break; fi
  done
  echo "$best"
}

need=()
want() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || need+=("$2"); }
want bwrap bubblewrap
python=$(find_python)
[ -z "${KAP_PYTHON:-}" ] || [ -n "$python" ] || die "KAP_PYTHON=$KAP_PYTHON is no Python from 3.11 to 3.14 with the modules venv and ensurepip" "name another, or unset KAP_PYTHON"
[ -n "$python" ] || need+=(python3 python3-venv)
[ -e /etc/ssl/certs/ca-certificates.crt ] || [ -e /etc/pki/tls/certs/ca-bundle.crt ] || need+=(ca-certificates)
if [ "$what" = test ]; then
  want ip iproute2
  want curl curl
  want git git
  want gcc gcc
  want unshare util-linux
  want iptables iptables
  want openssl openssl
  want npm npm
  if [ "$(id -u)" = 0 ]; then # an engine of the tests' own needs root; without it the container tests are skipped
    want runc runc
    want tini-static tini
    want mmdebstrap mmdebstrap
  fi
fi

# --- Debian packages -------------------------------------------------------------------------------------------------
install_packages() {
  local as_root=() by_hand="apt-get install -y --no-install-recommends ${need[*]}" answer=""
  command -v apt-get >/dev/null 2>&1 || die "these packages are missing (Debian's names): ${need[*]}" \
    "this script installs packages on Debian and Ubuntu only; install them with your package manager and run it again"
  say "Debian packages to install (needs root): ${need[*]}"
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null 2>&1 || die "root is needed to install these packages, and there is no sudo here: ${need[*]}" \
      "run as root: $by_hand" "then run this again"
    as_root=(sudo)
    by_hand="sudo $by_hand"
  fi
  if ! yes "${CI:-}" && ! yes "${KAP_YES:-}"; then
    if [ -t 0 ]; then
      read -r -p "setup: install them now with apt-get? [y/N] " answer || echo
      case "$answer" in [yY]*) ;; *) die "nothing was installed; still missing: ${need[*]}" "run: $by_hand" "then run this again (or answer y)" ;; esac
    elif [ "$(id -u)" != 0 ]; then
      die "root is needed, and nobody can be asked (standard input is no terminal)" "run: $by_hand" "then run this again, or run it with KAP_YES=1"
    fi
  fi
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq update \
    || die "apt-get could not fetch its lists of packages (its own words are above)" "see to the network, the mirror or the password, and run this again"
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive DEBCONF_NOWARNINGS=yes apt-get -qq install -y --no-install-recommends "${need[@]}" >/dev/null \
    || die "apt-get could not install: ${need[*]} (its own words are above)" "see to that, and run this again; by hand: $by_hand"
}
if [ ${#need[@]} -gt 0 ]; then
  install_packages
  [ -n "$python" ] || python=$(find_python)
fi
[ -n "$python" ] || die "no Python 3.11 or newer is here, and the system's packages have none" \
  "install one (3.13 is best), then run this again with KAP_PYTHON=/path/to/python3"

# --- User namespaces (Ubuntu 23.10 and newer keep them from ordinary users by AppArmor) ----------------------------------
# Lets bwrap, and no other program, make them. As kap.backend.diagnosis says it.
allow_bwrap() {
  local profile='abi <abi/4.0>,
include <tunables/global>
profile bwrap /usr/bin/bwrap flags=(unconfined) {
  userns,
}' by_hand="see docs/codes/capsule.apparmor.md" answer=""
  say "AppArmor keeps ordinary users from making user namespaces here, which kap run needs. With root, a profile for bwrap alone allows it: /etc/apparmor.d/bwrap"
  if ! yes "${CI:-}" && ! yes "${KAP_YES:-}"; then
    if [ ! -t 0 ]; then say "nobody can be asked, so it is left as it is; $by_hand"; return 0; fi
    read -r -p "setup: write that profile and load it, with sudo? [y/N] " answer || echo
    case "$answer" in [yY]*) ;; *) say "left as it is; $by_hand"; return 0 ;; esac
  fi
  printf '%s\n' "$profile" | sudo tee /etc/apparmor.d/bwrap >/dev/null && sudo apparmor_parser -r /etc/apparmor.d/bwrap \
    || say "that did not work (the words above say why); $by_hand"
}
if [ "$(id -u)" != 0 ] && [ "$(cat /proc/sys/kernel/apparmor_restrict_unprivileged_userns 2>/dev/null || echo 0)" = 1 ] \
  && ! bwrap --unshare-user --unshare-net --ro-bind / / true 2>/dev/null; then
  allow_bwrap
fi

# --- The environment -------------------------------------------------------------------------------------------------
export UV_NATIVE_TLS=${UV_NATIVE_TLS:-1} PIP_DISABLE_PIP_VERSION_CHECK=1

# pip brings its own list of CAs, and older ones ignore the system's: networks that sign TLS with a CA of their own need the system's.
trust_system() {
  local bundle
  [ -z "${PIP_CERT:-}" ] || return 0
  [ -z "$("$1" -m pip config get global.cert 2>/dev/null)" ] || return 0
  for bundle in /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/certs/ca-certificates.crt; do
    if [ -e "$bundle" ]; then export PIP_CERT=$bundle; fi
  done
}

# Whether .venv is whole, made here, and as good as this machine's Python allows. Says why not.
usable() {
  [ -e .venv ] || return 1
  local version
  version=$(.venv/bin/python -c 'import sys; print(sys.version_info[1])' 2>/dev/null) || { say ".venv has no working Python: making it anew"; return 1; }
  if [ "$version" -lt 11 ] || { [ "$version" -lt 13 ] && [ "$(python_minor "$python")" -ge 13 ]; }; then
    say ".venv has Python 3.$version, and a newer one is here: making it anew"
    return 1
  fi
  [ "$(sed -n 2p $stamp 2>/dev/null || true)" = "${1:-}" ] || [ -z "$(sed -n 2p $stamp 2>/dev/null || true)" ] \
    || { say ".venv was made in another directory: making it anew"; return 1; }
}

# Python 3.13 for this user only, by uv; leaves `python` as it is where that cannot be had.
newer_python() {
  local tool=.cache/uv-tool found
  say "Python 3.13 is not here (the sidecar's proxy frame needs it); trying to get one with uv, for this user only"
  rm -rf "$tool"
  if "$python" -m venv "$tool" && trust_system "$tool/bin/python" && "$tool/bin/python" -m pip -q install --require-hashes -r requirements/uv.txt >/dev/null 2>&1 \
    && timeout 300 "$tool/bin/uv" -q python install 3.13 >/dev/null 2>&1 && found=$("$tool/bin/uv" python find --managed-python 3.13 2>/dev/null); then
    python=$found
  else
    say "Python 3.13 cannot be had here; going on with $("$python" -V). The host half works; tests of the sidecar's frame are skipped and counted"
  fi
  rm -rf "$tool"
}

stamp=.venv/.kap-requirements
lock=$(cat requirements/dev.txt pyproject.toml | sha256sum | cut -d' ' -f1)
if ! usable "$PWD"; then
  if [ "$(python_minor "$python")" -lt 13 ] && [ -z "${KAP_NO_UV:-}" ] && [ -z "${KAP_PYTHON:-}" ]; then newer_python; fi
  say "creating .venv with $("$python" -V) ($python)"
  rm -rf .venv
  "$python" -m venv .venv || die "$python could not make an environment in $PWD/.venv (its own words are above)" \
    "see to that (room on the disk, permissions), and run this again"
fi

# --- Python packages: locked and hashed; nothing is fetched again when the lock has not changed ------------------------
if [ "$(sed -n 1p $stamp 2>/dev/null)" != "$lock" ] || ! .venv/bin/kap --version >/dev/null 2>&1; then
  say "installing the locked Python packages into .venv"
  rm -f $stamp
  .venv/bin/python -m pip --version >/dev/null 2>&1 || .venv/bin/python -m ensurepip >/dev/null  # a .venv that uv made has no pip
  trust_system .venv/bin/python
  .venv/bin/python -m pip -qq install --require-hashes -r requirements/dev.txt \
    || die "pip could not install requirements/dev.txt (its own words are above)" "see to the network or pip's configuration, and run this again"
  .venv/bin/python -m pip -qq install --no-deps --no-build-isolation -e . \
    || die "pip could not install kap from $PWD (its own words are above)" "see to that; if .venv is broken, remove it, and run this again"
  printf '%s\n%s\n' "$lock" "$PWD" > $stamp
fi
say "done: $(.venv/bin/kap --version) in .venv/bin, $(.venv/bin/python -V)"
