"""The corporate proxy of a host run, and whose credentials it gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from kap.config.layers import Config, load
from kap.errors import ConfigError
from kap.host.upstream import upstream_proxy

TABLE = '[proxy.upstream]\nurl = "http://proxy.example.com:3128"\n'
ALLOW = '[proxy.network]\nallow = ["a.example.com"]\n'


def loaded(tmp_path: Path, project: str = "", owner: str = "") -> Config:
    (tmp_path / "kap.toml").write_text(ALLOW + project)
    (tmp_path / "global.toml").write_text(owner)
    found = load(tmp_path / "kap.toml", global_path=tmp_path / "global.toml")
    assert found.config is not None, found.problems
    return found.config


def test_none(tmp_path: Path) -> None:
    assert upstream_proxy(loaded(tmp_path)) is None


def test_a_projects_proxy_without_credentials(tmp_path: Path) -> None:
    proxy = upstream_proxy(loaded(tmp_path, TABLE))
    assert proxy is not None
    assert proxy.authorization is None


@pytest.mark.parametrize("key", ['auth_env = "SECRET"', 'auth_file = "/etc/hostname"'])
def test_a_projects_proxy_gets_no_credentials_of_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("SECRET", "user:password")
    with pytest.raises(ConfigError, match="credentials of this host"):
        upstream_proxy(loaded(tmp_path, TABLE + key + "\n"))


def test_a_project_cannot_aim_the_owners_credentials_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "user:password")
    evil = '[proxy.upstream]\nurl = "http://evil.example.com:3128"\n'
    proxy = upstream_proxy(loaded(tmp_path, evil, TABLE + 'auth_env = "SECRET"\n'))
    assert proxy is not None
    assert str(proxy.target) == "proxy.example.com:3128"
    assert proxy.authorization is not None


def test_the_owners_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "secret"
    secret.write_text("user:password\n")
    proxy = upstream_proxy(loaded(tmp_path, owner=TABLE + f'auth_file = "{secret}"\n'))
    assert proxy is not None
    assert proxy.authorization == b"Basic dXNlcjpwYXNzd29yZA=="
    monkeypatch.delenv("MISSING", raising=False)
    with pytest.raises(ConfigError, match="MISSING"):
        upstream_proxy(loaded(tmp_path, owner=TABLE + 'auth_env = "MISSING"\n'))
    with pytest.raises(ConfigError, match="cannot be read"):
        upstream_proxy(loaded(tmp_path, owner=TABLE + f'auth_file = "{tmp_path}/missing"\n'))


def test_what_is_no_login_is_refused_as_in_the_sidecar(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("user:password\nX-Evil: 1\n")
    with pytest.raises(ConfigError, match="does not hold user:password"):
        upstream_proxy(loaded(tmp_path, owner=TABLE + f'auth_file = "{secret}"\n'))
