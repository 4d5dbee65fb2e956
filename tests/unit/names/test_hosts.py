"""One spelling in, one canonical host out; everything else is refused with a reason a person can act on."""

from __future__ import annotations

import pytest

from kap.names import hosts
from kap.names.hosts import (
    BadTarget,
    Host,
    Target,
    is_loopback_name,
    parse_authority,
    parse_host,
    parse_target,
    parse_url,
)

LONG = ".".join(["a" * 63] * 3 + ["b" * 61])  # 253 characters


@pytest.mark.parametrize(
    ("text", "canonical", "is_ip"),
    [
        ("example.com", "example.com", False),
        ("EXAMPLE.com", "example.com", False),
        ("example.com.", "example.com", False),
        ("_acme-challenge.example.com", "_acme-challenge.example.com", False),
        ("r3---sn-abc.example.com", "r3---sn-abc.example.com", False),
        ("-o.example.com", "-o.example.com", False),
        ("a-.example.com", "a-.example.com", False),
        ("1.2.3.4.example.com", "1.2.3.4.example.com", False),
        ("localhost", "localhost", False),
        (LONG, LONG, False),
        (LONG + ".", LONG, False),
        # IDNA
        ("bücher.example.com", "xn--bcher-kva.example.com", False),
        ("BÜCHER.example.com", "xn--bcher-kva.example.com", False),
        ("xn--bcher-kva.example.com", "xn--bcher-kva.example.com", False),
        ("XN--BCHER-KVA.example.com", "xn--bcher-kva.example.com", False),
        ("faß.example.com", "xn--fa-hia.example.com", False),
        ("🔐.example.com", "xn--jv8h.example.com", False),
        ("bu\u0308cher.example.com", "xn--bcher-kva.example.com", False),
        # addresses
        ("192.0.2.7", "192.0.2.7", True),
        ("::1", "::1", True),
        ("[2001:DB8:0::1]", "2001:db8::1", True),
        ("::ffff:192.0.2.7", "192.0.2.7", True),
        ("[::FFFF:c000:207]", "192.0.2.7", True),
    ],
)
def test_canonical_form(text: str, canonical: str, is_ip: bool) -> None:
    assert parse_host(text) == Host(canonical, is_ip)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (".", "empty"),
        ("example.com..", "empty label"),
        ("a..example.com", "empty label"),
        (".example.com", "empty label"),
        ("a" * 64 + ".example.com", "64 characters"),
        (LONG + "x", "254 characters"),
        ("a" * 5000, "5000 characters"),
        ("example.-com", "hyphen"),
        ("example.com-", "hyphen"),
        ("-", "hyphen"),
        ("*.example.com", "'*'"),
        ("a b.example.com", "white space"),
        (" example.com", "white space"),
        ("example.com\n", "control"),
        ("example.com\x00.evil.test", "control"),
        ("example.com\u00a0", "white space"),
        ("user@example.com", "user information"),
        ("example.com/path", "'/'"),
        ("example.com\\evil", "no path"),
        ("example.com#x", "'#'"),
        ("example%2ecom", "percent"),
        ("example.com:443", "IP address"),
        ("[example.com]", "brackets"),
        ("[[::1]]", "stray brackets"),
        ("[::1", "stray brackets"),
        ("fe80::1%eth0", "zone id"),
        ("[fe80::1%25eth0]", "zone id"),
        (":::", "IPv6"),
        ("1:2:3:4:5:6:7:8:9", "IPv6"),
        # addresses in other spellings
        ("127.1", "spelled oddly"),
        ("2130706433", "spelled oddly"),
        ("0x7f000001", "spelled oddly"),
        ("0x7f.0.0.1", "spelled oddly"),
        ("0177.0.0.1", "spelled oddly"),
        ("127.0.0.01", "spelled oddly"),
        ("256.1.1.1", "spelled oddly"),
        ("1.2.3.4.5", "spelled oddly"),
        ("192.0.2.7.", "spelled oddly"),
        ("example.0x7f", "spelled oddly"),
        ("example.123", "spelled oddly"),
        # look-alikes and what UTS 46 forbids
        ("ａｐｉ.example.com", "look-alike"),
        ("exa\u00admple.com", "look-alike"),
        ("ⓔⓧⓐⓜⓟⓛⓔ.com", "look-alike"),
        ("１２７.０.０.１", "look-alike"),
        ("example\u3002com", "dot that is not"),
        ("127。0。0。1", "dot that is not"),
        ("a\u200db.example.com", "joiner"),
        ("\u202eexample.com", "UTS 46"),
        ("\u0301a.example.com", "UTS 46"),
        ("evil\uff0fexample.com", "UTS 46"),
        ("xn--.example.com", "A-label"),
        ("xn--a.example.com", "A-label"),
        ("xn--example-.com", "A-label"),
        ("xn--abc-def\u00e9.example.com", "UTS 46"),
        ("xn--99999999999.example.com", "A-label"),
        ("xn--bcher-KVA0.example.com", "valid"),
        ("\ud800.example.com", "UTS 46"),
    ],
)
def test_refused_with_its_reason(text: str, reason: str) -> None:
    with pytest.raises(BadTarget) as caught:
        parse_host(text)
    assert reason in str(caught.value)
    assert str(caught.value).isascii(), "a message never carries the hostile characters themselves"


def test_plain_names_need_no_idna(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "idna", None)  # an import of it would fail
    hosts._parse_host.cache_clear()
    assert parse_host("Plain-Name.example.com.").text == "plain-name.example.com"


@pytest.mark.parametrize(
    ("text", "default", "expected"),
    [
        ("example.com:443", None, Target(Host("example.com"), 443)),
        ("example.com.:65535", None, Target(Host("example.com"), 65535)),
        ("[::1]:22", None, Target(Host("::1", True), 22)),
        ("example.com", 80, Target(Host("example.com"), 80)),
        ("[::1]", 443, Target(Host("::1", True), 443)),
    ],
)
def test_authority(text: str, default: int | None, expected: Target) -> None:
    assert parse_authority(text, default) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":443",
        "example.com",
        "example.com:",
        "example.com:0",
        "example.com:65536",
        "example.com:+443",
        "example.com:-1",
        "example.com:0443",
        "example.com:443 ",
        "example.com:４４３",
        "example.com:443:443",
        "example.com:443.evil.test",
        "::1",
        "::1:443",
        "::",
        "[::1]443",
        "[::1]x:443",
        "user@example.com:443",
        "http://example.com:443",
    ],
)
def test_authority_refused(text: str) -> None:
    with pytest.raises(BadTarget):
        parse_authority(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://example.com/path?x=1#y", ("https", Target(Host("example.com"), 443))),
        ("HTTP://EXAMPLE.com", ("http", Target(Host("example.com"), 80))),
        ("ws://example.com:8080/", ("ws", Target(Host("example.com"), 8080))),
        ("wss://[::1]?q", ("wss", Target(Host("::1", True), 443))),
        ("http://evil.test#@example.com/", ("http", Target(Host("evil.test"), 80))),
    ],
)
def test_url(text: str, expected: tuple[str, Target]) -> None:
    assert parse_url(text) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("ftp://example.com/", "not a URL that kap knows"),
        ("file:///etc/passwd", "not a URL that kap knows"),
        ("gopher://localhost:25/_x", "not a URL that kap knows"),
        ("http:example.com/", "not a URL"),
        ("http://", "empty"),
        ("http:///example.com", "empty"),
        ("http://user@example.com/", "user information"),
        ("http://user:pass@example.com/", "user information"),
        ("http://evil.test\\@example.com/", "back-slash"),
        ("http://example.com /", "white space"),
        ("http://example.com\t/", "white space"),
        ("http://example.com%2f@evil.test/", "user information"),
        ("http://example.com%00.evil.test/", "percent"),
    ],
)
def test_url_refused(text: str, reason: str) -> None:
    with pytest.raises(BadTarget, match=reason):
        parse_url(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("example.com", ("", Target(Host("example.com"), 443))),
        ("example.com:22", ("", Target(Host("example.com"), 22))),
        ("::1", ("", Target(Host("::1", True), 443))),
        ("2001:db8::1:22", ("", Target(Host("2001:db8::1:22", True), 443))),
        ("[2001:db8::1]:22", ("", Target(Host("2001:db8::1", True), 22))),
        ("http://example.com", ("http", Target(Host("example.com"), 80))),
    ],
)
def test_what_a_person_names(text: str, expected: tuple[str, Target]) -> None:
    assert parse_target(text) == expected


def test_targets_print_with_brackets_where_needed() -> None:
    assert str(Target(Host("::1", True), 22)) == "[::1]:22"
    assert str(Target(Host("example.com"), 22)) == "example.com:22"


@pytest.mark.parametrize("name", ["localhost", "a.localhost", "ip6-localhost", "ip6-loopback", "localhost.localdomain"])
def test_loopback_names(name: str) -> None:
    assert is_loopback_name(name)


@pytest.mark.parametrize("name", ["localhost.example.com", "notlocalhost", "example.com"])
def test_other_names_are_not_loopback(name: str) -> None:
    assert not is_loopback_name(name)
