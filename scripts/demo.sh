#!/usr/bin/env bash
# The demo: an agent-like script in a capsule (kap run), then why what was refused was refused, and the fix for each.
# Works in a copy of test-projects/demo, with a state directory of its own; leaves nothing. Needs no container engine.
set -euo pipefail
cd "$(dirname "$0")/.."
kap_bin=$PWD/.venv/bin
kap=$kap_bin/kap
python=$kap_bin/python
[ -x "$kap" ] || { echo "demo: kap is not set up; run: make setup" >&2; exit 69; }

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then bold=$'\033[1m' off=$'\033[0m' DEMO_COLOUR=1; else bold='' off='' DEMO_COLOUR=''; fi
say() { printf '\n%s== %s%s\n' "$bold" "$*" "$off"; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r test-projects/demo "$work/project"
chmod -R u+w "$work/project"  # the checkout may be read-only
export KAP_HOME=$work/state DEMO_COLOUR

options=()
# The package index of this machine's pip configuration, where it is not the usual one: the policy of this run gets it, too.
index=${PIP_INDEX_URL:-}
for pip in "$kap_bin/pip" pip3 pip; do
  [ -n "$index" ] || index=$("$pip" config get global.index-url 2>/dev/null || true)
done
authority=${index#*://}
authority=${authority%%/*}
case $index in
  "") ;;
  *://*@*) echo "This machine's pip uses an index that needs a login; no login goes into a capsule, so the public index is used." ;;
  http://?* | https://?*)
    echo "This machine's pip uses the index at $authority: that is allowed for this run, too."
    printf '\n[proxy.network]\nallow = ["%s"]  # the index of this machine'"'"'s pip\n' "$authority" >>"$work/project/kap.toml"
    options+=(--env PIP_INDEX_URL) ;;
  *) echo "This machine's pip uses the index $index, which a capsule does not see; the public index is used." ;;
esac
case ${options[*]-} in *PIP_INDEX_URL*) export PIP_INDEX_URL=$index ;; *) unset PIP_INDEX_URL ;; esac

say "1. The policy: kap.toml"
cat "$work/project/kap.toml"

say "2. This network"
grants=()
"$python" -m kap.host.network_check --project "$work/project" >"$work/network" 2>&1 || true
while IFS= read -r line; do
  case $line in
    trust=*)  # clients in the capsule shall trust what this machine trusts
      for name in SSL_CERT_FILE REQUESTS_CA_BUNDLE CURL_CA_BUNDLE PIP_CERT NODE_EXTRA_CA_CERTS GIT_SSL_CAINFO; do
        export "$name=${!name:-${line#trust=}}"
      done
      echo "This machine's trust store goes into the capsule (certificates only)." ;;
    grant=*) grants+=(--grant-private "${line#grant=}") ;;
    *) echo "$line" ;;
  esac
done <"$work/network"
if [ ${#grants[@]} -gt 0 ]; then
  echo "For this run, and no other, exactly these addresses are granted: ${grants[*]}"
else
  echo "Public names resolve to public addresses here: nothing is granted."
fi

# A proxy this machine has to use: kap goes through it, the capsule does not know it.
proxy=${https_proxy:-${HTTPS_PROXY:-}}
if [ -n "$proxy" ]; then
  rest=${proxy#*://}
  rest=${rest%/}
  address=${rest##*@}
  echo "This machine uses the proxy $address: kap goes through it, too."
  mkdir -p "$KAP_HOME"
  printf '[proxy.upstream]\nurl = "%s://%s"\n' "$(case $proxy in https://*) echo https ;; *) echo http ;; esac)" "$address" >"$KAP_HOME/kap.toml"
  if [ "$rest" != "$address" ]; then
    export KAP_DEMO_PROXY_AUTH=${rest%@*}
    printf 'auth_env = "KAP_DEMO_PROXY_AUTH"\n' >>"$KAP_HOME/kap.toml"
  fi
fi

# A Python the capsule can run: the system's, else the one kap runs with, shown read-only.
DEMO_PYTHON=/usr/bin/python3
if ! /usr/bin/python3 -c 'import venv, ensurepip' 2>/dev/null; then
  prefix=$("$python" -c 'import os, sys; print(os.path.realpath(sys.base_prefix))')
  DEMO_PYTHON=$prefix/bin/python3
  options+=(--ro "$prefix")
fi

# Whoever has no ~/.ssh shall see something refused that is really there: a file like a key, beside the workspace.
DEMO_KEY=$work/home/.ssh/id_ed25519
mkdir -p "${DEMO_KEY%/*}"
(umask 077 && echo "a key, not-for-agents" >"$DEMO_KEY")
cat "$DEMO_KEY" >/dev/null
export DEMO_PYTHON DEMO_KEY DEMO_SECRET=not-for-agents

say "3. kap run: real commands in a capsule (out here, DEMO_SECRET is set, and DEMO_KEY names a file that can be read)"
status=0
"$kap" run -C "$work/project" "${options[@]}" "${grants[@]}" --env DEMO_COLOUR --env DEMO_PYTHON --env DEMO_KEY -- sh agent.sh || status=$?

say "4. kap why-denied: what was refused, why, and the fix for each"
(cd "$work/project" && "$kap" why-denied) || [ $? = 1 ]

if [ "$status" != 0 ]; then
  printf '\nThe demo did not come out as it should (exit code %s): see the lines above.\n' "$status" >&2
  exit "$status"
fi
say "Everything came out as it should. Now yours: write a kap.toml in your project, and: kap run -- COMMAND"
