"""Every reason kap can give, once. The code is the decision's code, log field, metric label, diagnostic code, ``X-Kap-Reason``
header and the name of its page ``docs/codes/<code>.md``.
"""

from __future__ import annotations

import msgspec


class Code(msgspec.Struct, frozen=True):
    """`title`: one line for people, no trailing full stop. `status`: the HTTP status a proxy answers with (0: none)."""

    id: str
    title: str
    status: int = 0


_ALL = (
    # Decisions of the policy
    Code("egress.allowed", "allowed by a rule"),
    Code("egress.not-listed", "the host is not in the allowlist", 403),
    Code("egress.deny-rule", "a deny rule names the host", 403),
    Code("egress.port-not-listed", "the host is allowed, but not on this port", 403),
    Code("egress.ip-not-listed", "an IP address is reached only where a CIDR rule lists it", 403),
    Code(
        "egress.always-denied",
        "kap never allows this host unless a rule names it: it carries DNS or cloud credentials",
        403,
    ),
    Code("egress.bad-target", "the host or port cannot be understood", 400),
    Code("egress.address-not-global", "the name points to an address that is not on the public internet", 403),
    Code("egress.own-address", "the name points to kap itself", 403),
    Code("egress.internal-error", "kap failed and refused", 500),
    Code("egress.no-policy", "no policy is loaded", 503),
    Code("dns.allowed", "the name is allowed"),
    Code("dns.not-listed", "the name is not in the allowlist"),
    Code("dns.deny-rule", "a deny rule names the host"),
    Code("dns.always-denied", "kap never resolves this name unless a rule names it"),
    Code("dns.type-refused", "only A, AAAA and TXT are answered"),
    Code("dns.internal-error", "kap failed and refused"),
    # What the egress plane finds on the wire
    Code("egress.bad-request", "the request is not HTTP/1.1 as the RFC has it", 400),
    Code("egress.bad-framing", "the length of the request body is ambiguous", 400),
    Code("egress.host-mismatch", "the Host header names another host than the target", 400),
    Code("egress.upgrade-refused", "only an upgrade to websocket is let through", 403),
    Code("egress.not-tls", "something other than a TLS ClientHello came on a TLS port"),
    Code("egress.bad-hello", "the TLS ClientHello is malformed"),
    Code("egress.no-sni", "the TLS ClientHello names no host"),
    Code("egress.sni-mismatch", "the TLS ClientHello names another host than the target"),
    Code("egress.ech-refused", "Encrypted ClientHello hides the host"),
    Code("egress.hello-timeout", "no complete ClientHello came in time"),
    Code("egress.not-http", "something other than HTTP came on an HTTP port"),
    Code("egress.not-ssh", "something other than SSH came on an SSH port"),
    Code("egress.server-first", "the server spoke before the client on a port not declared for that"),
    Code("egress.request-timeout", "the request did not arrive in time", 408),
    Code("egress.head-too-large", "the request head is too large", 431),
    Code("egress.limit-connections", "too many connections at once", 429),
    Code("egress.dns-failure", "the name cannot be resolved", 502),
    Code("egress.connect-failed", "the host refuses the connection", 502),
    Code("egress.connect-timeout", "the host does not answer", 504),
    Code("egress.response-timeout", "the host did not answer the request in time", 504),
    Code("egress.bad-response", "the host's answer is not HTTP", 502),
    Code("egress.upstream-proxy", "the upstream proxy refused", 502),
    Code("egress.idle-timeout", "nothing was sent for too long"),
    Code("egress.revoked", "the policy changed and no longer allows this connection"),
    # What the name server finds on the wire
    Code("dns.bad-query", "the query is not one plain question"),
    Code("dns.opcode-refused", "only QUERY is answered"),
    Code("dns.class-refused", "only class IN is answered"),
    Code("dns.upstream-failure", "the upstream name server did not answer"),
    Code("dns.limit", "too many queries at once"),
    # What the sidecar and the log say about themselves
    Code("sidecar.started", "the sidecar started"),
    Code("sidecar.stopped", "the sidecar stopped"),
    Code("sidecar.policy-loaded", "a policy is in force"),
    Code("sidecar.reload-failed", "a changed policy is not valid; the last good one stays in force"),
    Code("sidecar.policy-vanished", "the policy file is gone; the last good policy stays in force"),
    Code("sidecar.listener-failed", "a listener of the sidecar died and is started again"),
    # What a capsule of `kap run` says about itself
    Code("capsule.started", "a capsule started"),
    Code("capsule.ended", "a capsule ended"),
    Code("audit.dropped", "events could not be written to the audit log"),
    # What the gate in a dev container and `kap status` find
    Code("gate.engine", "the container engine is too old to close a capsule"),
    Code("gate.no-container", "no dev container of this project runs"),
    Code("gate.no-gate", "the dev container has no gate"),
    Code("gate.no-sidecar", "no sidecar answers"),
    Code("gate.not-sidecar", "what answers in the sidecar's place is not kap's sidecar"),
    Code("gate.sidecar-name", "a service has the name of the sidecar"),
    Code("gate.sidecar-health", "a part of the sidecar does not work"),
    Code("gate.sidecar-version", "the sidecar is of another version than kap on the host"),
    Code("gate.sidecar-confined", "the sidecar has more rights than it needs"),
    Code("gate.policy", "the sidecar does not enforce the accepted policy"),
    Code("gate.direct-route", "the internet can be reached without the sidecar"),
    Code("gate.network-open", "the network of the capsule is not closed"),
    Code("gate.second-network", "a container of the capsule is on another network"),
    Code("gate.host-reachable", "the host can be reached from inside"),
    Code("gate.ipv6", "IPv6 leads out of the capsule"),
    Code("gate.resolver", "names are not resolved by the sidecar"),
    Code("gate.capabilities", "a container of the capsule has rights over the network or the kernel"),
    Code("gate.privileged", "a container of the capsule is privileged"),
    Code("gate.engine-socket", "the socket of a container engine is inside the capsule"),
    Code("gate.host-mount", "a directory of the host that must stay outside is mounted"),
    Code("gate.host-namespace", "a container of the capsule is in a namespace of the host"),
    Code("gate.device", "a device of the host is inside the capsule"),
    Code("gate.unknown", "a check could not be made"),
)

FAULTS_OF_HOST = frozenset(
    {
        "egress.dns-failure",
        "egress.connect-failed",
        "egress.connect-timeout",
        "egress.response-timeout",
        "egress.bad-response",
        "egress.upstream-proxy",
        "dns.upstream-failure",
    }
)
"""Reasons that are no verdict: kap let it through, and the host or the way to it failed."""

CODES: dict[str, Code] = {code.id: code for code in _ALL}
