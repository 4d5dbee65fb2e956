#!/bin/sh
# Installs the inside half of a kap capsule. Runs at image build, as root, needs no network and no program beyond POSIX.
set -eu

err() { echo "kap: $1" >&2; shift; for line in "$@"; do echo "  $line" >&2; done; exit 1; }

[ "$(id -u)" -eq 0 ] || err "the Feature has to be installed as root" "remove the USER line after which it runs, or use containerUser/remoteUser in devcontainer.json"
[ -d /proc/self ] || err "this image is not built on Linux with /proc" "use a Linux image"

here=$(cd "$(dirname "$0")" && pwd)
share=/usr/local/share/kap
mkdir -p "$share"
for file in gate.sh entrypoint.sh hook.sh; do
  cp "$here/$file" "$share/$file"
  chmod 0755 "$share/$file"
done
case ${WAITSECONDS:-10} in
  *[!0-9]* | '') err "the option waitSeconds is not a number: $WAITSECONDS" "write seconds, like \"10\"" ;;
esac
echo "wait_seconds=${WAITSECONDS:-10}" > "$share/options"
chown -R 0:0 "$share"

# The gate needs one program that opens a connection. Say so now, at build, where it can be mended, and not at the first start.
found=
for program in perl python3 bash nc; do
  if command -v "$program" >/dev/null 2>&1; then found=$program; break; fi
done
[ -n "$found" ] || err "this image has none of perl, python3, bash, nc" "install one of them before this Feature: the gate proves isolation with it"

# Login shells and the devcontainer CLI's environment probe read this. Not containerEnv: it would be set while later Features are
# built, where there is no sidecar. The overlay sets the same for every process; here it is for shells that start empty.
mkdir -p /etc/profile.d
cat > /etc/profile.d/kap.sh <<'PROFILE'
# Written by kap. The sidecar also takes what ignores these; they save a look-up and give clearer errors.
if [ -n "${KAP_SIDECAR:-}" ]; then
  export HTTP_PROXY="${HTTP_PROXY:-http://$KAP_SIDECAR}" HTTPS_PROXY="${HTTPS_PROXY:-http://$KAP_SIDECAR}"
  export http_proxy="$HTTP_PROXY" https_proxy="$HTTPS_PROXY"
  export NO_PROXY="${NO_PROXY:-localhost,127.0.0.1,::1}" no_proxy="${NO_PROXY:-localhost,127.0.0.1,::1}"
fi
PROFILE
chmod 0644 /etc/profile.d/kap.sh

# A JVM reads no proxy variables, but its own file of options wherever JAVA_TOOL_OPTIONS is set; the sidecar takes its connections
# transparently, so nothing is configured for it, nor for apt, pip, npm, git and cargo, which read the variables.

if [ "${BROWSERPOLICY:-true}" = true ]; then
  for directory in /etc/chromium/policies/managed /etc/chromium-browser/policies/managed /etc/opt/chrome/policies/managed /etc/opt/edge/policies/managed; do
    mkdir -p "$directory"
    printf '%s\n' '{"DnsOverHttpsMode": "off", "EncryptedClientHelloEnabled": false, "BuiltInDnsClientEnabled": false, "QuicAllowed": false}' > "$directory/kap.json"
    chmod 0644 "$directory/kap.json"
  done
  # One file for all policies: another one is left alone, and said.
  mkdir -p /etc/firefox/policies
  if [ -e /etc/firefox/policies/policies.json ] && ! grep -q '"kap"' /etc/firefox/policies/policies.json; then
    echo "kap: /etc/firefox/policies/policies.json exists; add DNSOverHTTPS off, DisableEncryptedClientHello and http3 off to it" >&2
  else
    cat > /etc/firefox/policies/policies.json <<'FIREFOX'
{
  "policies": {
    "DNSOverHTTPS": {"Enabled": false, "Locked": true},
    "DisableEncryptedClientHello": true,
    "Preferences": {
      "network.dns.echconfig.enabled": {"Value": false, "Status": "locked"},
      "network.dns.use_https_rr_as_altsvc": {"Value": false, "Status": "locked"},
      "network.http.http3.enable": {"Value": false, "Status": "locked"}
    }
  }
}
FIREFOX
    chmod 0644 /etc/firefox/policies/policies.json
  fi
fi

echo "kap: installed; the gate will use $found"
