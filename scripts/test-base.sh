#!/usr/bin/env bash
# A base image for the container tests without a registry: Debian trixie (Python 3.13, glibc) as a tar for `docker import`.
# Prints its path. Made once (about 20 s with mmdebstrap) and kept under ~/.cache/kap-test; another list of packages makes another.
set -euo pipefail

cache=${XDG_CACHE_HOME:-$HOME/.cache}/kap-test
packages=python3,python3-venv,ca-certificates,curl,openssl,busybox-static
mirror=$("$(dirname "$0")/debian-mirror.sh")
tar=$cache/base-$(printf '%s' "$packages" | sha256sum | cut -c1-12).tar
if [ ! -s "$tar" ]; then
  mkdir -p "$cache"
  # In memory where there is room: unpacking packages is all about syncing files.
  work=$(mktemp -d -p "$([ -w /dev/shm ] && echo /dev/shm || echo /tmp)" kap-test-base.XXXXXXXX)
  trap 'rm -rf "$work"' EXIT
  TMPDIR=$work mmdebstrap --quiet --variant=minbase --include="$packages" --dpkgopt=force-unsafe-io \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    trixie "$work/base.tar" "$mirror" >&2
  mv "$work/base.tar" "$tar.part"
  mv "$tar.part" "$tar"
fi
echo "$tar"
