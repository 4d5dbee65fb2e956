#!/usr/bin/env bash
# Puts a Docker engine for tests into a private prefix: nothing is started, nothing on the system is touched or restarted.
# Usage: scripts/engine.sh [PREFIX]      default ~/.cache/kap-test/engine
# Prints the directories to put on PATH, colon-separated. A second run finds everything in place and takes no time.
#
# Why not the system's engine: the tests need to see what the "internet" and the host's resolver saw, so they run an engine of
# their own in a network namespace with nothing real behind it. Where dockerd, compose and buildx are installed and recent enough,
# those programs are used; else they come, unpacked and not installed, from Debian trixie on the mirror this machine already uses.
set -euo pipefail

prefix=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/kap-test/engine}
die() { printf 'engine: %s\n' "$1" >&2; shift; for line in "$@"; do printf '  %s\n' "$line" >&2; done; exit 69; }
export PATH=$PATH:/usr/sbin:/sbin

# `!override` and `!reset` in compose files came with 2.24.4; engines before 26 leak through their resolver or cannot build offline.
at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n1)" = "$1" ]; }
system_engine() {
  [ -z "${KAP_TEST_ENGINE:-}" ] || return 1
  for program in dockerd containerd docker; do command -v $program >/dev/null || return 1; done
  at_least 26.1 "$(dockerd --version | sed -n 's/^Docker version \([0-9.]*\).*/\1/p')" || return 1
  at_least 2.24.4 "$(docker compose version --short 2>/dev/null | tr -d v)" || return 1
  docker buildx version >/dev/null 2>&1
}

# What an engine needs from the system in any case.
need=()
command -v runc >/dev/null || need+=(runc)
command -v iptables >/dev/null || need+=(iptables)
command -v tini-static >/dev/null || need+=(tini)
command -v mmdebstrap >/dev/null || need+=(mmdebstrap)
command -v ip >/dev/null || need+=(iproute2)
if [ ${#need[@]} -gt 0 ]; then
  command -v apt-get >/dev/null || die "these programs are missing: ${need[*]}" "install them with your package manager"
  [ "$(id -u)" = 0 ] || die "root is needed to install: ${need[*]}" "run: sudo apt-get install -y --no-install-recommends ${need[*]}"
  if [ -z "${CI:-}" ] && [ -z "${KAP_YES:-}" ] && [ -t 0 ]; then
    read -r -p "engine: install these Debian packages for the container tests: ${need[*]}? [y/N] " answer
    case "$answer" in [yY]*) ;; *) die "nothing was installed" "run: apt-get install -y --no-install-recommends ${need[*]}" ;; esac
  fi
  export DEBIAN_FRONTEND=noninteractive
  apt-get -qq update
  apt-get -qq install -y --no-install-recommends "${need[@]}" >/dev/null
fi

options=(-qq -o APT::Sandbox::User=root -o Acquire::Languages=none)

# Prints ":DIRECTORY" of a docker-registry that is not on PATH, else nothing. Debian starts a registry where its package is installed,
# so it is unpacked only. Where it cannot be had, the engine is of use all the same: the one test that needs it says so and is skipped.
registry() {
  local place=$prefix-registry lists
  command -v docker-registry >/dev/null && return 0
  if [ ! -x "$place/usr/bin/docker-registry" ]; then
    rm -rf "$place"
    mkdir -p "$place/debs/partial" "$place/lists/partial"
    lists=(-o "Dir::State::Lists=$place/lists")  # of its own, where the machine's know no registry or are not there
    (cd "$place/debs" && { apt-get "${options[@]}" download docker-registry 2>/dev/null \
      || { apt-get "${options[@]}" "${lists[@]}" update && apt-get "${options[@]}" "${lists[@]}" download docker-registry; }; }) >&2 \
      && dpkg -x "$place"/debs/*.deb "$place" \
      || { echo "engine: docker-registry cannot be had from this machine's package sources" >&2; rm -rf "$place"; return 0; }
    rm -rf "$place/debs" "$place/lists"
  fi
  printf ':%s' "$place/usr/bin"
}

if system_engine; then
  echo "$(dirname "$(command -v dockerd)")$(registry)"
  exit 0
fi

release=$(. /etc/os-release 2>/dev/null && echo "${ID:-}${VERSION_ID:-}")
packages=(docker.io docker-cli containerd docker-compose docker-buildx)
case $release in
  debian12) from_trixie=1 ;;   # its own engine is 20.10, which cannot build what the devcontainer CLI asks for without a registry
  debian*) from_trixie= ;;
  ubuntu*) from_trixie=; packages=(docker.io containerd docker-compose-v2 docker-buildx) ;;
  *) die "no Docker engine 26.1 with compose 2.24.4 and buildx was found" "install them, or run the tests on Debian or Ubuntu" ;;
esac
if [ ! -e "$prefix/complete" ]; then
  rm -rf "$prefix"
  trixie=()
  mkdir -p "$prefix/lists/partial" "$prefix/debs" "$prefix/root"
  if [ -n "$from_trixie" ]; then
    mirror=$("$(dirname "$0")/debian-mirror.sh")
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" > "$prefix/sources.list"
    trixie=(-o "Dir::Etc::sourcelist=$prefix/sources.list" -o Dir::Etc::sourceparts=/dev/null -o "Dir::State::Lists=$prefix/lists")
    apt-get "${options[@]}" "${trixie[@]}" update
  fi
  (cd "$prefix/debs" && apt-get "${options[@]}" "${trixie[@]}" download "${packages[@]}")
  for package in "$prefix"/debs/*.deb; do dpkg -x "$package" "$prefix/root"; done
  # The packaged docker-init is a link to a program of another package.
  ln -sf "$(command -v tini-static)" "$prefix/root/usr/bin/docker-init"
  mkdir -p "$prefix/config/cli-plugins"
  for plugins in "$prefix"/root/usr/libexec/docker/cli-plugins "$prefix"/root/usr/lib/docker/cli-plugins; do
    [ ! -d "$plugins" ] || ln -sf "$plugins"/* "$prefix/config/cli-plugins/"
  done
  rm -rf "$prefix/debs" "$prefix/lists"
  touch "$prefix/complete"
fi
echo "$prefix/root/usr/bin:$prefix/root/usr/sbin$(registry)"
