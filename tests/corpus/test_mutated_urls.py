"""URLs thrown together from the parts of attacks: where kap allows one, every other reading of it names the same host."""

from __future__ import annotations

import ipaddress
import random
import re
import socket
from urllib.parse import urlsplit

from corpus.generated_hosts import ALLOW, EVIL, INVISIBLE, LISTED
from kap.names.hosts import BadTarget, parse_target
from kap.policy.compiler import compile_rules
from kap.policy.request import EgressRequest

POLICY = compile_rules(allow=ALLOW)
ROUNDS = 40_000
PARTS = (
    *(
        "http://",
        "https://",
        "http:",
        "//",
        "/",
        "\\",
        "\\\\",
        "@",
        ":",
        "#",
        "?",
        ";",
        "&",
        " ",
        "\t",
        "\0",
        "%00",
        "%2f",
        "%40",
        "%23",
        "%2e",
        ".",
    ),
    *(
        "[",
        "]",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "127.0.0.1",
        "0x7f000001",
        "127.1",
        "2130706433",
        ":80",
        ":443",
        ":22",
        "user",
        "user:pw",
        "*",
        "-",
        "_",
    ),
    *("\uff0f", "\uff20", "\uff03", "\u3002", "\uff0e", "\u2044", "xn--", "\u00df", "\u0131", *INVISIBLE),
    *(
        LISTED,
        LISTED,
        LISTED,
        EVIL,
        EVIL,
        "foo.example.com",
        "example.com",
        ".example.com",
        "localhost",
        "API.GITHUB.COM",
        "github.com",
    ),
)


def readings(text: str) -> set[str]:
    """The hosts that a generic URI parser, the standard library and a browser-like reading (back-slash is a slash) find."""
    url = text if "://" in text else f"https://{text}"
    found = set()
    generic = re.match(r"(?:([^:/?#]+):)?(?://([^/?#]*))?", url)  # RFC 3986 appendix B
    for authority in (
        generic[2] if generic else "",
        re.split(r"[/?#\\]", url.replace("\\", "/").partition("://")[2].lstrip("/"))[0],
    ):
        host = (authority or "").rpartition("@")[2]
        found.add(re.sub(r":\d*$", "", host))
    try:
        found.add(urlsplit(url).hostname or "")
    except ValueError:
        found.add("")
    return {host.lower().removesuffix(".") for host in found}


def test_an_allowed_url_means_one_host() -> None:
    chance = random.Random(7)
    allowed = 0
    for _ in range(ROUNDS):
        text = "".join(chance.choices(PARTS, k=chance.randrange(1, 6)))
        if chance.random() < 0.7:
            text = chance.choice(("http://", "https://", "ws://")) + text
        try:
            _, target = parse_target(text)
        except BadTarget as bad:
            assert str(bad).isprintable()
            continue
        decision = POLICY.decide(EgressRequest(target))
        if not decision.allowed:
            continue
        allowed += 1
        host = target.host.text
        assert host == LISTED or host.endswith(".example.com"), ascii(text)
        assert target.port in (80, 443)
        assert {each if each.isascii() else host for each in readings(text)} == {host}, (
            ascii(text),
            host,
            readings(text),
        )
    assert allowed > ROUNDS // 200


def test_what_is_a_name_here_is_no_address_anywhere() -> None:
    chance = random.Random(8)
    alphabet = "0123456789abcdefx.xX."
    for _ in range(ROUNDS):
        text = "".join(chance.choices(alphabet, k=chance.randrange(1, 16)))
        try:
            _, target = parse_target(text)
        except BadTarget:
            continue
        try:
            as_libc = ipaddress.ip_address(socket.inet_aton(target.host.text))
        except (OSError, ValueError):
            as_libc = None
        if as_libc is None:
            assert not target.host.is_ip, text
        else:
            assert target.host.is_ip, text
            assert target.host.text == str(as_libc), text
