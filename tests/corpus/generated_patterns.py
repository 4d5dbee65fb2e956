"""Host patterns, sound and unsound, and what a sound one includes. Dialects of other tools are refused, never read as something wider."""

from __future__ import annotations

from collections.abc import Iterator

VALID = """
github.com api.github.com sub.api.github.com *.github.com *.example.com *.api.example.com api-v2.github.com 123.example.com GitHub.com
*.Example.COM. example.com. _dmarc.example.com _acme-challenge.example.com _srv._tcp.example.com *.github.io localhost
example.com:443 example.com:1 example.com:65535 example.com:22 *.example.com:8080 localhost:3000 example.com:8443/tcp example.com:22/ssh
xn--bcher-kva.example.com 10.0.0.0/8 192.168.1.1 192.168.1.1:8080 2606:4700::/32 [2606:4700:4700::1111]:443 ::1 [::1]:80 *
"""
INVALID = """
. .. *. .* *.* *.*.* *.*.com *.com *.org *.test **.com ** *** [example.com]:443 [10.0.0.1] [*]
*.*.stripe.com github..com *.github..com .github.com ..github.com
*hub.com *example.com *bob.example.com api-*.example.com *-cdn.example.com api.*.com api.* github.*
api.*.example.com region*.v2.argotunnel.com
**.example.com a*b.example.com *.example.* *.*.example.com
http://github.com https://*.example.com http:// https:// http://* ftp://x.com //github.com github.com/ github.com/path *.github.com/x
user@github.com @github.com git@github.com:org/repo evil.com;rm evil.com#comment evil.com\\n evil.com' evil.com" evil.com,other.com
example.com:0 example.com:65536 example.com:0443 example.com:abc example.com:80:443 example.com: example.com:-1 example.com:+1 :443 *:
example.com:443-445 example.com:443,80 example.com:443/udp example.com:443/ example.com:* [example.com] [fe80::1%25lo0] fe80::1%lo0
127.1 0x7f000001 2130706433 0177.0.0.1 010.0.0.1 256.1.1.1 1.2.3.4.5 10.0.0.1/8
10.0.0.0/33 10.0.0.0/-1 10.0.0.0/ 10/8 ::/129 ::ffff:10.0.0.0/104
^example.com$ (a|b).com example\\.com ~example.com !example.com a+b.com a[1].com a?b.com $HOME %65xample.com <example.com> {example}.com
xn--a.example.com xn--.com api\uff0eexample.com \u24d4xample.com \uff41pi.example.com ex\u00adample.com
"""
SPACED = (
    *(
        "",
        " ",
        "   ",
        "\t",
        "evil.com allowed",
        "evil.com\tallowed",
        " evil.com",
        "evil.com ",
        ".evil.com .attacker.com",
        "evil.com\0",
    ),
    *(
        "evil.com\nhttp_access allow all",
        "evil.com\rhttp_access allow all",
        "evil.com\r\nhttp_access allow all",
        "evil.com\u00a0",
    ),
    *("evil.com\u2028", "evil.com\x85", "evil.com\x7f", "a" * 64 + ".com", "a." * 127 + "com", "\u200bevil.com"),
)


def unsound() -> Iterator[str]:
    """Every text that is no pattern."""
    yield from INVALID.split()
    yield from SPACED


MATCHES = (  # allow, deny, host, verdict
    (["example.com"], [], "example.com EXAMPLE.COM example.com.", "allow"),
    (
        ["example.com"],
        [],
        "www.example.com xexample.com example.com.evil.test example.co example.comx evil.com com",
        "deny",
    ),
    (["GitHub.com"], [], "github.com GITHUB.COM GitHub.com.", "allow"),
    (["*.example.com"], [], "contrived.example.com a.b.example.com FOO.EXAMPLE.COM foo.example.com.", "allow"),
    (
        ["*.example.com"],
        [],
        "example.com example.com. EXAMPLE.COM notexample.com example.com.evil.com shouldbreak.com",
        "deny",
    ),
    (["*.EXAMPLE.COM."], [], "foo.example.com bar.baz.example.com", "allow"),
    (["exact.example.com"], [], "other.example.com x.exact.example.com", "deny"),
    (["*"], [], "anything.example.com example1.com xn--bcher-kva.de", "allow"),
    (
        ["*"],
        [],
        "localhost foo.localhost metadata.google.internal db printer.local 127.0.0.1 169.254.169.254 [::1] 10.0.0.1",
        "deny",
    ),
    (["*"], ["bad.com", "*.worse.com"], "bad.com BAD.com bad.com. a.worse.com A.B.Worse.Com.", "deny"),
    (["*"], ["bad.com", "*.worse.com"], "worse.com a.bad.com notbad.com", "allow"),
    (["*.github.com", "github.com"], ["gist.github.com"], "gist.github.com GIST.github.com gist.github.com.", "deny"),
    (["*.github.com", "github.com"], ["gist.github.com"], "api.github.com github.com x.gist.github.com", "allow"),
    (["gist.github.com"], ["*.github.com"], "gist.github.com", "deny"),
    (["github.com"], ["*"], "github.com 1.2.3.4", "deny"),
    (["github.com", "api.github.com"], [], "github.com api.github.com", "allow"),
    (["github.com", "api.github.com"], [], "gist.github.com hub.com", "deny"),
    ([], [], "anything.com github.com localhost 8.8.8.8 [::1]", "deny"),
    (["10.0.0.0/8"], [], "10.0.0.1 10.1.2.3 10.255.255.255 [::ffff:10.1.2.3]", "allow"),
    (["10.0.0.0/8"], [], "internal.service 192.168.1.1 11.0.0.1 10.1 167772161 0xa.0.0.1 012.0.0.1", "deny"),
    (["10.0.0.0/8"], ["10.9.0.0/16"], "10.9.0.0 10.9.255.255 [::ffff:10.9.1.1]", "deny"),
    (["0.0.0.0/0", "::/0"], [], "8.8.8.8 1.1.1.1 [2606:4700:4700::1111] [::ffff:8.8.8.8]", "allow"),
    (
        ["0.0.0.0/0", "::/0"],
        [],
        "127.0.0.1 10.0.0.1 169.254.169.254 [::1] [fe80::1] [64:ff9b::7f00:1] [2002:7f00:1::] example.com",
        "deny",
    ),
    (["github.com:22"], [], "github.com github.com:80 github.com:23", "deny"),
    (["github.com:22"], [], "github.com:22", "allow"),
    (["github.com"], [], "github.com:443 github.com:80", "allow"),
    (["github.com"], [], "github.com:8080 github.com:22 github.com:0 github.com:65536", "deny"),
)
