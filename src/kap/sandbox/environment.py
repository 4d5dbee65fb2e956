"""The environment of a capsule's command: complete, built from nothing.

Rules: of the host's environment only `SAFE` names pass, and what the person lists; what kap sets cannot be overridden, because a
command that believes another proxy variable only fails later and less clearly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

SAFE = ("TERM", "COLORTERM", "NO_COLOR", "FORCE_COLOR", "LANG", "LANGUAGE", "TZ")
SAFE_PREFIX = "LC_"

PROXY_URL = "http://127.0.0.1:3128"
NO_PROXY = "localhost,127.0.0.1,::1"

STANDARD_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")

TRUST_FILES = (
    "SSL_CERT_FILE",
    "NODE_EXTRA_CA_CERTS",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "PIP_CERT",
    "GIT_SSL_CAINFO",
    "AWS_CA_BUNDLE",
    "CARGO_HTTP_CAINFO",
    "DENO_CERT",
    "NIX_SSL_CERT_FILE",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
)
"""Variables that name a PEM file with certificates a program trusts."""

TRUST_DIRECTORY = "SSL_CERT_DIR"
"""The one that names directories (``:`` between them)."""


def build(
    host: Mapping[str, str],
    *,
    passed: Iterable[str],
    path: Iterable[str],
    home: str,
    user: str,
    trust: Mapping[str, str],
) -> tuple[tuple[str, str], ...]:
    """The command's environment, sorted by name.

    `passed`: names of host variables to hand over (a name the host does not have is left out); `path`: directories of the host's PATH
    that the capsule sees; `trust`: trust-store variables with paths that exist inside.
    """
    made = {name: value for name, value in host.items() if name in SAFE or name.startswith(SAFE_PREFIX)}
    made |= {name: host[name] for name in passed if name in host}
    made |= trust
    made |= {name: PROXY_URL for upper in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY") for name in (upper, upper.lower())}
    made |= {"NO_PROXY": NO_PROXY, "no_proxy": NO_PROXY, "NODE_USE_ENV_PROXY": "1"}
    made |= {"PATH": ":".join(dict.fromkeys((*path, *STANDARD_PATH))), "HOME": home, "USER": user, "LOGNAME": user}
    made |= {"KAP_CAPSULE": "1", "TMPDIR": "/tmp", "SHELL": "/bin/sh"}  # noqa: S108 - the capsule's own /tmp
    return tuple(sorted(made.items()))
