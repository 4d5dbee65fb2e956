#!/bin/sh
# Stands for an agent: real commands, in a capsule. Each is shown with what became of it, and why. Exits 1 if one came out otherwise
# than it should. DEMO_PYTHON: a Python that the capsule sees. DEMO_KEY: a file beside the workspace that can be read out there.
python=${DEMO_PYTHON:-python3}
: "${DEMO_KEY:?names a file outside of the workspace; scripts/demo.sh makes one}"
wrong=0

if [ -n "${DEMO_COLOUR:-}" ]; then
  bold=$(printf '\033[1m') green=$(printf '\033[32m') red=$(printf '\033[31m') dim=$(printf '\033[2m') off=$(printf '\033[0m')
else
  bold='' green='' red='' dim='' off=''
fi

# step EXPECTED TITLE WHY COMMAND: runs COMMAND, shows the last line it said, and WHY it came out so.
step() {
  expected=$1 title=$2 why=$3 command=$4
  printf '\n%s%s%s\n%s  $ %s%s\n' "$bold" "$title" "$off" "$dim" "$command" "$off"
  if said=$(sh -c "$command" 2>&1 </dev/null); then outcome=allowed colour=$green; else outcome=refused colour=$red; fi
  printf '  %s%s%s  %s\n' "$colour" "$outcome" "$off" "$(printf '%s\n' "$said" | grep -v '^[[:space:]]*$' | tail -n 1 | cut -c 1-220)"
  if [ "$outcome" = "$expected" ]; then
    printf '  %swhy%s      %s\n' "$dim" "$off" "$why"
  else
    wrong=1
    printf '  %sthis should have been %s; all it said:%s\n%s\n' "$red" "$expected" "$off" "$said"
  fi
}

step allowed 'Install a package from the Python package index (preset "python")' \
  'kap.toml allows the index by its preset' \
  "$python -m venv /tmp/venv && /tmp/venv/bin/pip install --disable-pip-version-check --no-cache-dir six"

step allowed 'The same index, by a tool that ignores proxy variables' \
  'allowed names resolve to kap, which waits on ports 80 and 443, too' \
  "env -u https_proxy -u HTTPS_PROXY -u all_proxy -u ALL_PROXY /tmp/venv/bin/pip download --disable-pip-version-check --no-cache-dir -d /tmp six"

step refused 'Fetch a page that nobody listed' \
  'no rule lists example.com (egress.not-listed)' \
  "$python fetch.py https://example.com/"

step refused 'The same page without proxy variables' \
  'names that are not allowed are not resolved (dns.not-listed)' \
  "env -u https_proxy -u HTTPS_PROXY -u all_proxy -u ALL_PROXY $python fetch.py https://example.com/"

step refused 'Ask the name server to carry a secret out in a name' \
  'kap asks no other name server about it, so nothing of the name leaves (dns.not-listed)' \
  "getent hosts c2VjcmV0.tunnel.example.com || { echo 'no such name: kap answers allowed names only, and asks nobody'; exit 2; }"

step refused 'Connect to an address, past all proxies' \
  'the network namespace is empty: there is no route, only kap' \
  "$python fetch.py tcp://192.0.2.1:443"

step refused 'Ask the proxy for the cloud metadata service' \
  'addresses that carry credentials are never allowed by accident (egress.always-denied)' \
  "$python fetch.py http://169.254.169.254/latest/meta-data/"

step refused 'Open a raw socket' \
  'the system call filter: no raw sockets in a capsule' \
  "$python -c 'import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)'"

step refused 'Read a secret from the environment it was started in' \
  'only listed variables pass (--env NAME, or [run] env)' \
  'echo "${DEMO_SECRET:?not in here (it is set outside of the capsule)}"'

step refused 'Read an SSH key that lies outside of the workspace (out there, the same command shows it)' \
  'of the files of the person who started it, only the workspace is in a capsule' \
  'cat "$DEMO_KEY"'

step refused 'Read the SSH keys in the home directory of the person who started it' \
  'the home directory in a capsule is an empty one' \
  'ls ~/.ssh'

step refused 'Allow itself more' \
  'what governs the capsule is read-only in it, and was read before it started' \
  'echo "presets = [\"github\"]" >> kap.toml'

step allowed 'Write to its own workspace' \
  'the project is writable: that is the work' \
  'echo done > result.txt && echo "result.txt: $(cat result.txt)"'

exit $wrong
