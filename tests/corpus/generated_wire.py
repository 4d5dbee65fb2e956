"""What a hostile or an odd client sends to the proxy port, made systematically: authorities, URLs, Host fields, methods, versions.

Words of an expectation, as in the corpora: ``allow`` (a 2xx), ``deny`` (no 2xx, and nothing is dialled), ``safe`` (any answer; nothing
of the denied host is ever reached, or named to an origin). ``allowed.test`` is listed, on 80, 443 and 8443; ``denied.test`` is not.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

A, D = b"allowed.test", b"denied.test"


class Row(NamedTuple):
    id: str
    raw: bytes
    expect: str


def connect(authority: bytes, host: bytes | None) -> bytes:
    return b"CONNECT %b HTTP/1.1\r\n%b\r\n" % (authority, b"" if host is None else b"Host: %b\r\n" % host)


DENIED_AUTHORITIES = (
    *b"""
    denied.test:443 denied.test.:443 denied.test..:443 .denied.test:443 DENIED.TEST:443 sub.denied.test:443 denied.test:80
    allowed.test.denied.test:443 allowed.test-denied.test:443 xallowed.test:443 sub.allowed.test:443 allowed.testx:443 test:443
    allowed.test@denied.test:443 allowed.test:443@denied.test:443 denied.test@allowed.test:443 a:b@allowed.test:443
    @denied.test:443 denied.test#allowed.test:443 denied.test:443#@allowed.test denied.test/.allowed.test:443
    denied.test?allowed.test:443 denied.test\\.allowed.test:443 denied.test;allowed.test:443 denied.test,allowed.test:443
    denied.test|allowed.test:443 denied.test%00.allowed.test:443 denied.test%20allowed.test:443 denied.test%2eallowed.test:443
    %64enied.test:443 denied%2etest:443 http://denied.test:443 https://denied.test/ //denied.test:443 /denied.test:443
    https:denied.test:443 :443 443 * / .:443 ..:443 127.0.0.1:443 127.1:443 0x7f000001:443 2130706433:443 0177.0.0.1:443
    127.0.0.1.:443 0:443 0.0.0.0:443 localhost:443 foo.localhost:443 10.99.1.2:443 174260482:443 0x0a630102:443
    010.099.001.002:443 10.99.258:443 10.6488322:443 10.99.1.1:443 0xa.0x63.0x1.0x2:443 [::1]:443 [::]:443 [::ffff:127.0.0.1]:443
    [::ffff:7f00:1]:443 [64:ff9b::7f00:1]:443 [2002:7f00:1::]:443 [fe80::1%25eth0]:443 [::ffff:10.99.1.2]:443 [::10.99.1.2]:443
    [fe80::1]:443 ::1:443 [::1:443 ::1]:443 [[::1]]:443 [v1.x]:443 []:443 [127.0.0.1]:443 169.254.169.254:80 169.254.169.254:443
    metadata.google.internal:80 100.100.100.200:80 [fd00:ec2::254]:80 1.1.1.1:443 8.8.8.8:443 allowed.test:25 allowed.test:22
    allowed.test:0 allowed.test:65536 allowed.test:99999999999 allowed.test:-1 allowed.test:+443 allowed.test:443:443
    allowed.test:https allowed.test:0x1bb allowed.test:443x allowed.test:443/ allowed.test:443? allowed.test:443#
    xn--allowed.test:443 xn--llowed-1ra.test:443 allowed..test:443 allowed.test..:443 *.test:443 *:443
    """.split(),
    *(b"denied.test\xff:443", b"\xc3\xa4llowed.test:443", b"allowed\xe3\x80\x82test:443", b"\xd0\xb0llowed.test:443"),
    *(
        b"denied.test\0.allowed.test:443",
        b"denied.test\0:443",
        b"denied.test\x0b:443",
        b"denied.test\x7f:443",
        b"denied.test:443\0",
    ),
    *(b"a" * 64 + b".test:443", b"a." * 127 + b"test:443", b"a" * 5000 + b":443"),
)
SAFE_AUTHORITIES = (
    b"[allowed.test]:443 allowed.test: allowed.test *.allowed.test:443 allowed.test:0443 allowed.test:00443".split()
)
HOSTS = (b"allowed.test:443", b"denied.test:443", b"x", None)


def connects() -> Iterator[Row]:
    """CONNECT: every authority, each with a Host that agrees with somebody else."""
    for authority, host in itertools.product(DENIED_AUTHORITIES, HOSTS):
        yield Row(f"connect {authority[:60]!r} host {host!r}", connect(authority, host), "deny")
    for authority, host in itertools.product(SAFE_AUTHORITIES, HOSTS):
        yield Row(f"connect {authority!r} host {host!r}", connect(authority, host), "safe")
    for authority in b"allowed.test:443 ALLOWED.TEST:443 Allowed.Test:443 allowed.test.:443 allowed.test:80 allowed.test:8443".split():
        yield Row(f"connect {authority!r}", connect(authority, authority), "allow")
    for host in (
        b"",
        b"denied.test",
        b"allowed.test",
        b"denied.test:443",
        b"allowed.test:443\r\nHost: denied.test:443",
    ):
        yield Row(f"connect allowed, host {host!r}", connect(b"allowed.test:443", host), "safe")
    for line in (
        *(
            b"CONNECT denied.test:443 HTTP/1.0",
            b"CONNECT denied.test:443 HTTP/2.0",
            b"CONNECT denied.test:443 HTTP/1.2",
        ),
        *(
            b"CONNECT denied.test:443",
            b"connect denied.test:443 HTTP/1.1",
            b"Connect denied.test:443 HTTP/1.1",
            b"CONNECT  denied.test:443 HTTP/1.1",
        ),
        *(
            b"CONNECT\tdenied.test:443\tHTTP/1.1",
            b"CONNECT denied.test:443  HTTP/1.1",
            b"CONNECT denied.test:443 HTTP/1.1 ",
            b" CONNECT denied.test:443 HTTP/1.1",
        ),
        *(
            b"CONNECT allowed.test:443 denied.test:443 HTTP/1.1",
            b"CONNECT denied.test:443 allowed.test:443 HTTP/1.1",
            b"CONNECT denied.test 443 HTTP/1.1",
        ),
        *(
            b"CONNECT denied.test:443 http/1.1",
            b"CONNECT denied.test:443 HTTP/1.1\0",
            b"CONNECT HTTP/1.1",
            b"CONNECT  HTTP/1.1",
            b"\0CONNECT denied.test:443 HTTP/1.1",
        ),
        *(
            b"CONNECT denied.test:443 HTTP/01.1",
            b"CONNECT denied.test:443 HTTP/1.10",
            b"CONNECT denied.test:443 HTTP/+1.1",
            b"CONNECT denied.test:443 XTTP/1.1",
        ),
    ):
        yield Row(f"line {line!r}", line + b"\r\nHost: allowed.test:443\r\n\r\n", "deny")
        yield Row(f"line with LF {line!r}", line + b"\nHost: allowed.test:443\n\n", "deny")
    for lead in (b"\r\n", b"\r\n\r\n", b"\n", b"\r", b" ", b"\0", b"\xef\xbb\xbf"):
        yield Row(f"lead {lead!r}", lead + connect(b"denied.test:443", A), "deny")


def get(
    url: bytes,
    host: bytes = A,
    method: bytes = b"GET",
    rest: bytes = b"Connection: close\r\n",
    version: bytes = b"HTTP/1.1",
) -> bytes:
    return b"%b %b %b\r\nHost: %b\r\n%b\r\n" % (method, url, version, host, rest)


DENIED_URLS = (
    *b"""
    http://denied.test/ http://denied.test./ http://DENIED.TEST/ http://denied.test:80/ http://sub.denied.test/
    http://sub.allowed.test/ http://allowed.test.denied.test/ http://xallowed.test/ http://allowed.testx/
    http://allowed.test;denied.test/ http://allowed.test,denied.test/ http://allowed.test@denied.test/
    http://allowed.test:80@denied.test:80/ http://@denied.test/ http://x:y@denied.test/ http://%64%65nied.test/
    http://denied%2etest/ http://allowed.test%00.denied.test/ http://allowed.test%2f.denied.test/
    http://denied.test%23@allowed.test/ http://127.0.0.1/ http://127.0.0.1:80/ http://127.1/ http://0/ http://0x7f.1/
    http://2130706433/ http://[::1]/ http://[::ffff:127.0.0.1]/ http://10.99.1.2/ http://174260482/ http://0x0a630102/
    http://012.0143.1.2/ http://169.254.169.254/latest/meta-data/ http://[fd00:ec2::254]/ http://localhost/ http://foo.localhost/
    http://metadata.google.internal/ http://[64:ff9b::a9fe:a9fe]/ http://[fe80::1%25eth0]/ http://allowed.test:0/
    http://allowed.test:22/ http://allowed.test:25/ http://allowed.test:65536/ http://allowed.test:-1/ http://allowed.test:80:80/
    https://denied.test/ ftp://allowed.test/x gopher://allowed.test/x file:///etc/passwd file://allowed.test/
    dict://allowed.test/ ldap://allowed.test/ ws://denied.test/ http:denied.test/ http:/denied.test/ http:///denied.test/
    http:////denied.test/ http:\\\\denied.test\\ http//denied.test/ //denied.test/ http://http://denied.test/
    http://allowed.test:http://denied.test/ http://[denied.test]/ http://[allowed.test]/ http:// http:/// denied.test/
    denied.test denied.test:80 http://denied.test\\.allowed.test/ http://denied.test|allowed.test/
    http://denied.test^allowed.test/
    """.split(),
    *(
        b"http://denied.test\0.allowed.test/",
        b"http://denied.test\t/",
        b"http://denied.test\x0b/",
        b"http://denied.test\xff/",
        b"http://\xd0\xb0llowed.test/",
        b"http://allowed\xe3\x80\x82test/",
    ),
)
SAFE_URLS = (
    *b"""
    http://denied.test\\@allowed.test/ http://denied.test#@allowed.test/ http://denied.test?@allowed.test/
    http://denied.test/@allowed.test/ http://denied.test:80#@allowed.test:80/ http://denied.test@allowed.test/
    http://x@y@allowed.test/ http://a:b@allowed.test/ http://@allowed.test/ http://allowed.test#denied.test/
    http://allowed.test#@denied.test/ http://allowed.test:/ http://allowed.test:080/ https://allowed.test/ /hello
    http://allowed.test\\@denied.test/ http://allowed.test\\.denied.test/ * http://allowed.test/%0d%0aHost:%20denied.test
    ws://allowed.test/
    """.split(),
)
FINE_URLS = (
    *b"""
    http://allowed.test/ http://allowed.test http://allowed.test:80 http://allowed.test:80/a?b http://ALLOWED.test/
    HTTP://allowed.test/ http://allowed.test./ http://allowed.test?q=@denied.test http://allowed.test/@denied.test
    http://allowed.test//denied.test/ http://allowed.test/?u=http://denied.test/ http://allowed.test/a%20b%00%2f..%2f
    http://allowed.test/[a]{b}|^`"<> http://allowed.test/;p?a=1&b=2
    """.split(),
    *(
        b"http://allowed.test/" + b"x" * 4000,
        b"http://allowed.test/a/../../b",
        b"http://allowed.test/?" + b"&".join(b"k%d=v" % n for n in range(200)),
    ),
)
METHODS = b"GET HEAD POST PUT DELETE PATCH OPTIONS TRACE PROPFIND MKCOL REPORT X-ODD!#$%&'*+-.^_`|~".split()


def urls() -> Iterator[Row]:
    """Absolute-form requests."""
    for url, host in itertools.product(DENIED_URLS, (A, D)):
        yield Row(f"get {url[:60]!r} host {host!r}", get(url, host), "deny")
    for url, host in itertools.product(SAFE_URLS, (A, D)):
        yield Row(f"get {url!r} host {host!r}", get(url, host), "safe")
    for url in FINE_URLS:
        yield Row(f"get {url[:60]!r}", get(url), "allow")
    for method in METHODS:
        body = b"Content-Length: 0\r\nConnection: close\r\n"
        yield Row(f"{method!r} allowed", get(b"http://allowed.test/x", A, method, body), "allow")
        yield Row(f"{method!r} denied", get(b"http://denied.test/x", A, method, body), "deny")
    for version in (b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/1.2", b"HTTP/11", b"http/1.1", b"HTTP/1.1x", b""):
        yield Row(f"version {version!r} denied", get(b"http://denied.test/", A, version=version), "deny")
        yield Row(
            f"version {version!r} allowed",
            get(b"http://allowed.test/", A, version=version),
            "allow" if version == b"HTTP/1.0" else "safe",
        )
    yield Row("1.0 without host", b"GET http://allowed.test/ HTTP/1.0\r\n\r\n", "allow")
    yield Row("1.1 without host", b"GET http://allowed.test/ HTTP/1.1\r\n\r\n", "safe")


def hosts() -> Iterator[Row]:
    """The Host field against the target, and the other fields that origins route by."""
    strangers = b"denied.test denied.test:80 allowed.test.denied.test allowed.test@denied.test denied.test,allowed.test denied.test/"
    for value in (
        *strangers.split(),
        b"127.0.0.1",
        b"[::1]",
        b"allowed.test denied.test",
        b"allowed.test\tdenied.test",
    ):
        yield Row(f"host {value!r}", get(b"http://allowed.test/", value), "safe")
        yield Row(f"host {value!r}, target denied", get(b"http://denied.test/", value), "deny")
    for first, second in itertools.product((A, D, b""), (A, D, b"")):
        two = b"Host: %b\r\nConnection: close\r\n" % second
        yield Row(f"two hosts {first!r} {second!r}", get(b"http://allowed.test/", first, rest=two), "safe")
        yield Row(
            f"two hosts {first!r} {second!r}, target denied", get(b"http://denied.test/", first, rest=two), "deny"
        )
    for odd in (
        *(
            b"Host : denied.test",
            b" Host: denied.test",
            b"\tHost: denied.test",
            b"Host\0: denied.test",
            b"X: a\r\n Host: denied.test",
            b"X: a\nHost: denied.test",
        ),
        *(
            b"X: a\rHost: denied.test",
            b"Ho\xc5\xbft: denied.test",
            b"host:denied.test",
            b"HOST:\tdenied.test",
            b"X: a\0\r\nHost: denied.test",
            b": denied.test",
        ),
        *(
            b"X-Forwarded-Host: denied.test",
            b"Forwarded: host=denied.test",
            b"X-Host: denied.test",
            b"X-Original-URL: http://denied.test/",
            b"X-Rewrite-URL: /",
        ),
        *(
            b":authority: denied.test",
            b"Connection: Host",
            b"Connection: close, host",
            b"Connection: X-Forwarded-Host",
            b"Proxy-Authorization: Basic eDp5",
        ),
        *(
            b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
            b"Expect: 100-continue",
            b"Via: 1.1 kap",
        ),
    ):
        yield Row(
            f"field {odd[:40]!r}", get(b"http://allowed.test/", A, rest=odd + b"\r\nConnection: close\r\n"), "safe"
        )
