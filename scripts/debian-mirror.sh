#!/bin/sh
# Prints the Debian mirror the tests take packages from: KAP_DEBIAN_MIRROR, else the one this machine already uses.
set -eu
mirror=${KAP_DEBIAN_MIRROR:-}
[ -n "$mirror" ] || mirror=$(sed -n 's#^URIs:[[:space:]]*\(https\{0,1\}://[^[:space:]]*/debian/\{0,1\}\)\([[:space:]].*\)\{0,1\}$#\1#p' /etc/apt/sources.list.d/debian.sources 2>/dev/null | head -n1)
[ -n "$mirror" ] || mirror=$(sed -n 's#^deb[[:space:]]\(\[[^]]*\][[:space:]]*\)\{0,1\}\(https\{0,1\}://[^[:space:]]*/debian/\{0,1\}\)[[:space:]].*#\2#p' /etc/apt/sources.list 2>/dev/null | head -n1)
if [ -z "$mirror" ]; then
  echo "debian-mirror: this machine uses no Debian mirror" >&2
  echo "  set KAP_DEBIAN_MIRROR to the address of one" >&2
  exit 69
fi
echo "$mirror"
