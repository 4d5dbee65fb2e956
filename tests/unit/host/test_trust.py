"""The host's trust store in a capsule: certificates, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kap.host.trust import carry, certificates
from kap.sandbox.etc import Person
from kap.sandbox.filesystem import Found

CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\nabc=\n-----END CERTIFICATE-----\n"
KEY = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"


@pytest.fixture
def found(tmp_path: Path) -> Found:
    return Found(
        Person(1, 1, "a", "a", "/home/a"),
        "/w",
        trees=("/usr",),
        links=(),
        etc=("/etc/ssl/certs",),
        governs=(),
        private=(str(tmp_path),),
    )


def test_only_certificates_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "bundle.pem"
    path.write_text(f"# a comment with a password\n{KEY}{CERTIFICATE}junk\n{CERTIFICATE}{KEY}")
    assert certificates(path).decode() == CERTIFICATE + CERTIFICATE


@given(st.binary(max_size=200))
def test_garbage_gives_nothing_of_itself(data: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        path = Path(place, "f")
        path.write_bytes(b"-----BEGIN CERTIFICATE-----\n" + data)
        assert certificates(path) == b"" or certificates(path).startswith(b"-----BEGIN CERTIFICATE-----")


def test_a_file_outside_of_the_capsule_is_rebuilt_once(found: Found, tmp_path: Path) -> None:
    path = tmp_path / "corp.pem"
    path.write_text(KEY + CERTIFICATE)
    trust = carry({"SSL_CERT_FILE": str(path), "PIP_CERT": str(path)}, found)
    assert trust.variables["SSL_CERT_FILE"] == trust.variables["PIP_CERT"] == "/run/kap/trust/0.pem"
    assert [file.content.decode() for file in trust.files] == [CERTIFICATE]


def test_what_is_visible_stays(found: Found) -> None:
    bundle = "/etc/ssl/certs/ca-certificates.crt"
    if not Path(bundle).exists():
        pytest.skip("no Debian bundle of certificates")
    trust = carry({"CURL_CA_BUNDLE": bundle, "SSL_CERT_DIR": "/etc/ssl/certs"}, found)
    assert trust.variables == {"CURL_CA_BUNDLE": bundle, "SSL_CERT_DIR": "/etc/ssl/certs"}
    assert trust.files == ()


@pytest.mark.parametrize(
    "value", ["", "relative.pem", "/nowhere.pem", "/etc/shadow", "/proc/self/environ", "/dev/zero"]
)
def test_what_leads_nowhere_is_left_out(found: Found, value: str) -> None:
    assert carry({"SSL_CERT_FILE": value}, found).variables == {}


def test_a_directory_is_copied_certificate_by_certificate(found: Found, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "1a2b.0").write_text(CERTIFICATE + KEY)
    (tmp_path / "d" / "key.pem").write_text(KEY)
    trust = carry({"SSL_CERT_DIR": str(tmp_path / "d")}, found)
    assert [(file.target, file.content.decode()) for file in trust.files] == [
        ("/run/kap/trust/directory0/1a2b.0", CERTIFICATE)
    ]
    assert trust.variables == {"SSL_CERT_DIR": "/run/kap/trust/directory0"}
