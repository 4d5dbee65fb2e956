"""Families of hostile and of honest host names, URLs and authorities, made systematically. Each case says what is right.

Words of an expectation: ``allow``, ``deny``, and ``either`` (any verdict, but what is reached is a name the rules list). The policy
is the corpora's: `LISTED` and everything below ``example.com``.
"""

from __future__ import annotations

import itertools
import string
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

LISTED = "api.github.com"
ALLOW = (LISTED, "*.example.com")
EVIL = "evil.test"


class Case(NamedTuple):
    text: str
    expect: str


# -- names ----------------------------------------------------------------------------------------------------------------------


def _styles(name: str) -> Iterator[str]:
    """`name` in letters that compatibility mapping turns into plain ones: wide, circled, bold, script, double-struck, ..."""
    bases = (0xFF41, 0x24D0, 0x1D41A, 0x1D44E, 0x1D482, 0x1D4EA, 0x1D51E, 0x1D552, 0x1D5BA, 0x1D5EE, 0x1D68A)
    for base in bases:
        styled = "".join(chr(base + ord(char) - 97) if char in string.ascii_lowercase else char for char in name)
        if all(unicodedata.category(char) != "Cn" for char in styled):
            yield styled
    for place in range(len(name)):
        if name[place].isalpha():
            yield name[:place] + chr(0xFF41 + ord(name[place]) - 97) + name[place + 1 :]


LOOK_ALIKES = "".join(  # a letter of the listed name, and strangers that look like it or fold to it
    (
        "a\u0430",
        "a\u0251",
        "a\u00e1",
        "p\u0440",
        "i\u0456",
        "i\u0131",
        "i\u0130",
        "i\u2139",
        "g\u0261",
        "g\u0121",
        "t\u0442",
    ),
)
INVISIBLE = (
    "\u00ad\u034f\u061c\u115f\u180e\u200b\u200c\u200d\u200e\u200f\u202a\u202d\u202e"
    "\u2060\u2061\u2066\u2069\u3164\ufe0f\ufeff\U000e0061"
)
ODD_ASCII = "".join(char for char in map(chr, range(128)) if not char.isalnum() and char not in "-_.")


NOT_LISTED = """
example.com github.com xapi.github.com api.github.com.evil.test api-github.com apigithub.com xexample.com notexample.com example.comx
example.com.evil.test evil-example.com example.co api.github.co api.github.community a.api.github.com api.github.com.com com test
localhost foo.localhost ip6-loopback localhost.localdomain metadata.google.internal instance-data kubernetes.default.svc localtest.me
127.0.0.1.nip.io 10.0.0.1.sslip.io make-1.2.3.4-rebind-169.254-169.254-rr.1u.ms api.github.com.localhost . .. api.github.com..
.api.github.com api..github.com foo..example.com .example.com ..example.com xn--.com xn--a.evil.test xn--80ak6aa92e.com xn--gthub-n4a.com
xn--pi-7la.github.com xn--api-.github.com -api.github.com api-.github.com api.github.-com api.github.com- - --
"""


def names() -> Iterator[Case]:
    """Names around the rules' own. What is not the listed name, or below ``example.com``, is denied."""
    longest = ".".join(["a" * 63] * 3 + ["b" * (253 - 3 * 64 - 12)])
    below = f"foo a.b.c foo_bar _dmarc 1 0x7f 127.0.0.1 a-b ab--cd r3---sn-4g5e6nz7 a_ -x x- example.com {'a' * 63} {longest}"
    below += (
        " xn--bcher-kva xn--e1afmkfd b\u00fccher \u043f\u0440\u0438\u043c\u0435\u0440 \u4f8b\u5b50 " + "a." * 119 + "a"
    )
    names = (f"{label}.example.com" for label in below.split())
    for name in (LISTED.upper(), LISTED.title(), "aPi.gItHuB.cOm", "FOO.Example.COM", *names):
        yield from (Case(name, "allow"), Case(name + ".", "allow"))
    for name in NOT_LISTED.split():
        yield Case(name, "deny")
    for name in ("", "a" * 64 + ".example.com", f"x.{longest}.example.com", "a" * 254, "a." * 130 + "example.com"):
        yield Case(name, "deny")
    for char in ODD_ASCII:
        yield from (
            Case(f"{LISTED}{char}.{EVIL}", "deny"),
            Case(f"{EVIL}{char}{LISTED}", "deny"),
            Case(f"api{char}.github.com", "deny"),
        )
        yield Case(f"a{char}b.example.com", "deny")
        if char not in "/?#:":  # what ends a host, as a person may write it
            yield from (Case(f"{LISTED}{char}", "deny"), Case(f"{char}{LISTED}", "deny"))
    for plain, strange in zip(LOOK_ALIKES[::2], LOOK_ALIKES[1::2], strict=True):
        yield Case(LISTED.replace(plain, strange, 1), "deny")
    for char in INVISIBLE:
        yield from (
            Case(f"a{char}pi.github.com", "deny"),
            Case(f"{LISTED}{char}", "deny"),
            Case(f"{EVIL}{char}.example.com", "either"),
        )
    for dot in "\u3002\uff0e\uff61\u2024\u00b7\u30fb\ufe52":
        yield from (
            Case(LISTED.replace(".", dot), "deny"),
            Case(f"{EVIL}{dot}example.com", "deny"),
            Case(f"{LISTED}{dot}{EVIL}", "deny"),
        )
    for styled in _styles(LISTED):
        yield Case(styled, "deny")
    for styled in _styles("foo"):
        yield Case(f"{styled}.example.com", "either")
    odds = "\ufb00 fa\u00df \u0663 \u212a \u017f \u1e9e \u03c2 a\u0301 \U0001f510 \u2665 \u2488 \u33c2 \u00bd"
    odds += (
        " - -- xn-- xn--a xn--abc- xn--0 xn--ab- xn--zzzzzz99999999 xn--bcher-kva8 xn--xn--a-b _ __ b\u00fc" + "c" * 60
    )
    for odd in odds.split():
        yield Case(f"{odd}.example.com", "either")


# -- URLs -----------------------------------------------------------------------------------------------------------------------

ENDS = "/?#"  # RFC 3986 3.2: what ends an authority
NOT_ENDS = (
    *"\\;|&,+=!$'()*~%^`<>\"{}[] \t\n\r\0\x0b\x0c\x1f\x7f@:",
    *(
        "%00",
        "%09",
        "%0a",
        "%0d%0a",
        "%20",
        "%23",
        "%2f",
        "%3f",
        "%40",
        "%5c",
        "%2e",
        "%3a",
        "%252f",
        "\\\\",
        "\\/",
        "/\\"[::-1],
    ),
    *"\uff0f\uff1f\uff03\uff20\uff3c\uff1a\uff0e\u3002\uff61\u2215\u2044\u29f8\u2048\u2049\u00ad\u200b\u2028\u2029\u0085\u00a0\u3000\ufe6b\ufe5f",
)


def urls() -> Iterator[Case]:
    """Shapes of a URL that two parsers read in two ways, times everything that could stand for a delimiter."""
    for scheme in ("http", "https", "ws", "wss", "HTTP", "hTTpS"):
        for host in (LISTED, "foo.example.com", LISTED.upper(), f"{LISTED}.", "b\u00fccher.example.com"):
            tails = ("", "/", "/a?b#c", "?q", "#f", f"/@{EVIL}", f"?@{EVIL}", f"#@{EVIL}")
            for port, tail in itertools.product(("", ":80", ":443"), tails):
                yield Case(f"{scheme}://{host}{port}{tail}", "allow")
        strangers = (
            f"{EVIL} example.com {LISTED}.{EVIL} 127.0.0.1 [::1] [::ffff:127.0.0.1] 0x7f000001 2130706433 localhost"
        )
        for host in strangers.split():
            tails = ("", "/", f"/{LISTED}", f"?{LISTED}", f"#{LISTED}", f"/.{LISTED}")
            for port, tail in itertools.product(("", ":80", ":443", ":8080"), tails):
                yield Case(f"{scheme}://{host}{port}{tail}", "deny")
    for end in ENDS:
        yield from (Case(f"http://{LISTED}{end}{EVIL}/", "allow"), Case(f"http://{LISTED}{end}@{EVIL}/", "allow"))
        yield from (Case(f"http://{EVIL}{end}{LISTED}/", "deny"), Case(f"http://{EVIL}{end}@{LISTED}/", "deny"))
        yield from (
            Case(f"http://{EVIL}:80{end}@{LISTED}:80/", "deny"),
            Case(f"http://{EVIL}{end}.example.com/", "deny"),
        )
    for char in NOT_ENDS:
        yield from (Case(f"http://{LISTED}{char}{EVIL}/", "deny"), Case(f"http://{EVIL}{char}{LISTED}/", "deny"))
        yield from (Case(f"http://{LISTED}{char}.{EVIL}/", "deny"), Case(f"http://{EVIL}{char}@{LISTED}/", "deny"))
        yield from (
            Case(f"http://{LISTED}{char}@{EVIL}/", "deny"),
            Case(f"http://{LISTED}:80{char}@{EVIL}:80/", "deny"),
        )
        yield from (
            Case(f"http://{EVIL}:80{char}@{LISTED}:80/", "deny"),
            Case(f"http://{LISTED}:443{char}.{EVIL}/", "deny"),
        )
        yield from (Case(f"http://{EVIL}{char}.example.com/", "either"), Case(f"http:{char}//{EVIL}/", "deny"))
        yield from (Case(f"http:/{char}/{LISTED}@{EVIL}/", "deny"), Case(f"{char}http://{EVIL}/", "deny"))
    for user in ("", "x", "x:y", ":", LISTED, f"{LISTED}:443", f"{LISTED}%20", "%00", "a@b"):
        yield from (Case(f"http://{user}@{EVIL}/", "deny"), Case(f"http://{user}@{LISTED}/", "deny"))
    schemes = "ftp file gopher dict ldap tftp sftp ssh git netdoc jar data javascript view-source 0 httpx http+unix socks5 blob"
    for scheme in ("", *schemes.split()):
        for rest in (f"://{LISTED}/", "://127.0.0.1:25/_x", ":///etc/passwd", f":{LISTED}/"):
            yield Case(scheme + rest, "deny")
    shapes = "http:{} http:{}/ http:/{}/ http:///{}/ http:////{}/ //{}/ http:\\\\{}\\ http//{}/ http;//{}/ http\0://{}/ http://http://{}/"
    shapes += " jar:http://{}!/ url:http://{}/ http://{}:http://x/ 0://x:80;http://{}:80/ <http://{}/> http://[{}]/ http::///{}/"
    for shape, host in itertools.product(shapes.split(), (EVIL, "127.0.0.1", LISTED)):
        yield Case(shape.format(host), "deny")


# -- authorities ----------------------------------------------------------------------------------------------------------------

BAD_HOSTS = "[] [[example.net]] [example.net] [127.0.0.1] 2001:db8::1337 :: [::1 ::1] [::1]x [::1%25eth0] [fe80::1%eth0] a@b a/b *"
BAD_HOSTS += " *.example.net a..b 127.1 0x7f.1 a%2eb a\\b"
BAD_PORTS = ":https :443x :x443 :443:443 :443/ :443# :0x1bb :1e2 :443.0"
HOSTS = (  # as written, and canonical ("" where it is none)
    *(
        ("example.net", "example.net"),
        ("EXAMPLE.net", "example.net"),
        ("example.net.", "example.net"),
        ("127.0.0.1", "127.0.0.1"),
    ),
    *(
        ("\U0001f510.example.com", "xn--jv8h.example.com"),
        ("[2001:DB8::1337]", "2001:db8::1337"),
        ("[::ffff:1.2.3.4]", "1.2.3.4"),
    ),
    *(
        ("FOO-BAR.example.com", "foo-bar.example.com"),
        ("[0:0:0:0:0:0:0:1]", "::1"),
        ("xn--jv8h.example.com", "xn--jv8h.example.com"),
    ),
    *(("-x.example.net", "-x.example.net"), ("a_b.example.net", "a_b.example.net")),
    *(
        (bad, "")
        for bad in (
            "",
            "a b",
            *BAD_HOSTS.split(),
        )
    ),
)
PORTS = (
    *((":1", 1), (":22", 22), (":80", 80), (":443", 443), (":8443", 8443), (":65535", 65535)),
    *(
        (part, 0)
        for part in (
            ":",
            ":0",
            ":00",
            ":007",
            ":0443",
            ":65536",
            ":91337",
            ":99999999999999999999",
            ":-1",
            ":-12",
            ":+443",
        )
    ),
    *(
        (part, 0)
        for part in (
            ":443 ",
            ": 443",
            ":4 43",
            ":443\t",
            *BAD_PORTS.split(),
        )
    ),
    *((part, 0) for part in (":\u0664\u0664\u0663", ":\uff14\uff14\uff13", ":\u00b2", ":443\0", ":443@x", ":4_43")),
)


def authorities() -> Iterator[tuple[str, str, int]]:
    """Every host with every port; what is to come out ("" where it is to be refused). Without a port a request has no authority."""
    for (text, host), (part, port) in itertools.product(HOSTS, PORTS):
        yield text + part, host if host and port else "", port
    for text, _ in HOSTS:
        yield text, "", 0
