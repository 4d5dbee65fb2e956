#!/bin/bash
# Runs inside a closed dev container: what the Feature has installed, and that the gate lets a closed container pass.
set -e
# shellcheck source=/dev/null
source dev-container-features-test-lib

share=/usr/local/share/kap
check "the gate is there and nobody but root can change it" bash -c "test \"\$(stat -c '%a %u' $share/gate.sh)\" = '755 0'"
check "the gate passes" bash -c "$share/gate.sh | grep 'kap: isolated'"
check "the gate says each check" bash -c "test \"\$($share/gate.sh --lines | cut -f1 | sort -u)\" = ok"
check "without a sidecar it fails" bash -c "! KAP_SIDECAR=127.0.0.1:9 $share/gate.sh --wait 0"
check "and says so" bash -c "KAP_SIDECAR=127.0.0.1:9 $share/gate.sh --wait 0 2>&1 | grep 'NOT ISOLATED'"
check "an unknown argument is an error" bash -c "$share/gate.sh --nonsense; test \$? = 2"
check "Chromium does not hide names" grep -q '"EncryptedClientHelloEnabled": false' /etc/chromium/policies/managed/kap.json
check "nor Chrome" grep -q '"DnsOverHttpsMode": "off"' /etc/opt/chrome/policies/managed/kap.json
check "nor Firefox" grep -q '"DisableEncryptedClientHello": true' /etc/firefox/policies/policies.json
check "login shells know the proxy" bash -lc 'env -i KAP_SIDECAR=$KAP_SIDECAR bash -c ". /etc/profile.d/kap.sh; test -n \"\$HTTPS_PROXY\""'

reportResults
