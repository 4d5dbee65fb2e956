"""The upstream proxy's credentials: from where the policy says, into the request, and nowhere else."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest

from kap.config.model import Upstream
from kap.egress.credentials import MAX_CHARACTERS, upstream_proxy
from kap.errors import ConfigError

URL = "http://proxy.example.com:3128"


def authorization(config: Upstream) -> bytes | None:
    found = upstream_proxy(config)
    assert found is not None
    return found.authorization


def test_no_proxy_and_no_credentials() -> None:
    assert upstream_proxy(Upstream()) is None
    assert authorization(Upstream(url=URL)) is None


def test_from_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROXY_LOGIN", " user:pass:word \n")
    assert authorization(Upstream(url=URL, auth_env="PROXY_LOGIN")) == b"Basic " + base64.b64encode(b"user:pass:word")


def test_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "login"
    path.write_text("user:secret\n")
    assert authorization(Upstream(url=URL, auth_file=str(path))) == b"Basic " + base64.b64encode(b"user:secret")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "secret-without-colon",
        "user:secret\nX-Evil: 1",
        "user:\x00secret",
        "user:secret\x85X-Evil: 1",
        "user:secret-caf\xe9".encode("latin-1"),
        "user:secret" + "x" * MAX_CHARACTERS,
    ],
)
def test_what_is_no_login_is_refused_without_being_repeated(tmp_path: Path, text: str | bytes) -> None:
    path = tmp_path / "login"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as error:
        upstream_proxy(Upstream(url=URL, auth_file=str(path)))
    assert "secret" not in error.value.message + error.value.hint
    assert str(path) in error.value.message


def test_the_same_is_refused_in_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROXY_LOGIN", "secret-without-colon")
    with pytest.raises(ConfigError, match="PROXY_LOGIN does not hold") as error:
        upstream_proxy(Upstream(url=URL, auth_env="PROXY_LOGIN"))
    assert "secret" not in error.value.message + error.value.hint


def test_a_file_of_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "login").write_text("user:secret\n")
    assert authorization(Upstream(url=URL, auth_file="~/login")) == b"Basic " + base64.b64encode(b"user:secret")


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "login")
    for path in (tmp_path / "login", tmp_path):
        with pytest.raises(ConfigError, match="no regular file"):
            upstream_proxy(Upstream(url=URL, auth_file=str(path)))


def test_missing_ones_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the variable NO_SUCH_LOGIN"):
        upstream_proxy(Upstream(url=URL, auth_env="NO_SUCH_LOGIN"))
    with pytest.raises(ConfigError, match="No such file"):
        upstream_proxy(Upstream(url=URL, auth_file=str(tmp_path / "none")))
