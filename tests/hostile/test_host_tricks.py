"""Spellings that have fooled allowlists elsewhere, end to end: text, parser, policy. Each is refused, and with a reason."""

from __future__ import annotations

import pytest

from kap.names.hosts import BadTarget, parse_target
from kap.policy.compiler import compile_rules
from kap.policy.request import AddressRequest, EgressRequest

POLICY = compile_rules(allow=["api.example.com", "*.example.net", "*"], deny=["evil.test", "*.evil.test"])

ALLOWED = "api.example.com"
TRICKS = [
    # user information and delimiters
    f"http://{ALLOWED}@evil.test/",
    f"http://{ALLOWED}:443@evil.test/",
    f"http://evil.test\\@{ALLOWED}/",
    f"http://evil.test%2f@{ALLOWED}/",
    f"http://evil.test%23@{ALLOWED}/",
    f"http://evil.test\t.{ALLOWED}/",
    f"http://evil.test\r\nHost: {ALLOWED}/",
    f"http://evil.test#@{ALLOWED}/",
    f"http://evil.test?@{ALLOWED}/",
    f"http://evil.test/@{ALLOWED}/",
    f"http://evil.test:80#{ALLOWED}:80/",
    f"http://[{ALLOWED}]/",
    f"http://{ALLOWED}:80:443/",
    f"http://{ALLOWED}:0x50/",
    f"http://{ALLOWED}:99999/",
    f"http:{ALLOWED}/",
    f"http:/{ALLOWED}/",
    f"//{ALLOWED}/",
    f"javascript://{ALLOWED}/%0a",
    # one name that reads like another
    f"{ALLOWED}\x00.evil.test",
    f"{ALLOWED}.evil.test",
    f"{ALLOWED}\u3002evil.test",
    f"{ALLOWED}\uff0eevil.test",
    "evil。test",
    "evil\u00ad.test",
    "ｅｖｉｌ.test",
    "EVIL.test.",
    "xn--evil-.test",
    "xn--.evil.test",
    "a.xn--0.test",
    # this machine and its network, in every spelling
    *(
        "localhost",
        "LocalHost.",
        "a.localhost",
        "ip6-localhost",
        "localhost.localdomain",
        "printer.local",
        "router",
        "x.internal",
    ),
    *(
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "0177.0.0.1",
        "0x7f.0.0.1",
        "0x7f000001",
        "2130706433",
        "017700000001",
        "0",
        "0.0.0.0",
    ),
    *("127.0.0.1.", "127.000.000.001", "127.0.0.1%00", "１２７.0.0.1", "127.0.0.1.localdomain"),
    *(
        "::1",
        "[::1]",
        "[::]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
    ),
    *("[fe80::1%eth0]", "[fe80::1%25eth0]", "fe80::1", "[2002:7f00:1::]", "[::1]:443:443", "[::1]evil.test"),
    # credentials of the cloud, names hidden from DNS
    *("169.254.169.254", "[fd00:ec2::254]", "metadata.google.internal", "metadata", "0xa9fea9fe", "425.510.425.510"),
    *("dns.google", "DNS.Google.", "mozilla.cloudflare-dns.com", "one.one.one.one"),
]


@pytest.mark.parametrize("text", TRICKS)
def test_a_trick_is_refused_with_a_reason(text: str) -> None:
    try:
        _, target = parse_target(text)
    except BadTarget as bad:
        assert str(bad) and str(bad).isascii()
        return
    decision = POLICY.decide(EgressRequest(target))
    assert decision.verdict == "deny", target
    assert decision.code in {
        "egress.not-listed",
        "egress.deny-rule",
        "egress.ip-not-listed",
        "egress.always-denied",
    }


@pytest.mark.parametrize(
    "address",
    [
        *(
            "127.0.0.1",
            "10.0.0.1",
            "172.31.0.1",
            "192.168.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
        ),
        *(
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001:0:0:0:0:0:80ff:fffe",
        ),
        *("168.63.129.16", "fd00:ec2::254", "::127.0.0.1", "64:ff9b:1::1"),
    ],
)
def test_an_allowed_name_does_not_lead_inside(address: str) -> None:
    _, target = parse_target(ALLOWED)
    assert POLICY.decide(EgressRequest(target)).code == "egress.allowed"
    assert POLICY.decide(AddressRequest(target, address)).code == "egress.address-not-global"
