"""The /etc of a capsule: a few files made by kap, and of the host's only what programs need to run and holds no secret."""

from __future__ import annotations

import msgspec

from kap.sandbox.plan import File

FROM_HOST = (
    # Trust store (its private half stays out)
    "ssl/certs",
    "ssl/openssl.cnf",
    "ssl/cert.pem",
    "ca-certificates",
    "ca-certificates.conf",
    "pki/ca-trust",
    "pki/tls/certs",
    "pki/tls/cert.pem",
    "pki/tls/openssl.cnf",
    "crypto-policies",
    "gnutls",
    # Loader and programs chosen by the distribution
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "ld-musl-x86_64.path",
    "ld-musl-aarch64.path",
    "alternatives",
    # Parts of packages that live in /etc and are linked to from /usr
    "java*",
    "python*",
    "perl",
    "ruby*",
    "fonts",
    "magic",
    "mime.types",
    "terminfo",
    "inputrc",
    "bash.bashrc",
    "bashrc",
    "protocols",
    "services",
    "rpc",
    "debian_version",
    "os-release",
    "lsb-release",
    "alpine-release",
    "redhat-release",
    "fedora-release",
    "localtime",
    "timezone",
    "locale.conf",
    "locale.alias",
    "login.defs",
    "dpkg",
)
"""Names below /etc taken from the host, read-only, where they exist; ``*`` at the end takes every name with that beginning."""


class Person(msgspec.Struct, frozen=True):
    """Who the command runs as, with the numbers of the host."""

    uid: int
    gid: int
    name: str
    group: str
    home: str


def files(person: Person, hostname: str) -> tuple[File, ...]:
    """passwd, group, hosts and the resolver's files. Names resolve through kap's name server only."""
    text = {
        "passwd": _passwd(person),
        "group": _group(person),
        "hostname": f"{hostname}\n",
        "hosts": f"127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n127.0.0.1 {hostname}\n",
        "resolv.conf": "# kap answers here, and only for names that kap.toml allows.\nnameserver 127.0.0.1\noptions timeout:5 attempts:2\n",
        "nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nprotocols: files\nservices: files\n",
        "host.conf": "multi on\n",
        "shells": "/bin/sh\n/bin/bash\n",
    }
    return tuple(File(f"/etc/{name}", content.encode()) for name, content in text.items())


def _passwd(person: Person) -> str:
    lines = {
        "root": "root:x:0:0::/root:/bin/sh",
        "nobody": "nobody:x:65534:65534::/nonexistent:/bin/false",
        person.name: f"{person.name}:x:{person.uid}:{person.gid}::{person.home}:/bin/sh",
    }
    return "".join(f"{line}\n" for line in lines.values())


def _group(person: Person) -> str:
    lines = {"root": "root:x:0:", "nogroup": "nogroup:x:65534:", person.group: f"{person.group}:x:{person.gid}:"}
    return "".join(f"{line}\n" for line in lines.values())
