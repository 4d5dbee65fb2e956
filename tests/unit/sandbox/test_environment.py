"""The environment of a command."""

from __future__ import annotations

import pytest

from kap.sandbox.environment import build

HOST = {
    "TERM": "xterm",
    "LC_ALL": "C.UTF-8",
    "LC_SECRET": "kept: a locale name",
    "AWS_SECRET_ACCESS_KEY": "x",
    "LD_PRELOAD": "/evil.so",
    "SSH_AUTH_SOCK": "/run/agent",
    "http_proxy": "http://corp:3128",
    "HOME": "/home/ann",
    "PATH": "/home/ann/bin:/usr/bin",
    "TOKEN": "t",
}


def made(**how: object) -> dict[str, str]:
    options = {"passed": (), "path": ("/usr/bin",), "home": "/home/ann", "user": "ann", "trust": {}} | how
    return dict(build(HOST, **options))  # type: ignore[arg-type]


def test_secrets_stay_out() -> None:
    names = set(made())
    assert not names & {"AWS_SECRET_ACCESS_KEY", "LD_PRELOAD", "SSH_AUTH_SOCK", "TOKEN"}
    assert {"TERM", "LC_ALL"} <= names


def test_listed_names_pass_and_missing_ones_are_left_out() -> None:
    assert made(passed=("TOKEN", "NOT_SET"))["TOKEN"] == "t"
    assert "NOT_SET" not in made(passed=("NOT_SET",))


@pytest.mark.parametrize("name", ["http_proxy", "HTTPS_PROXY", "PATH", "HOME", "NO_PROXY"])
def test_what_kap_sets_is_not_overridden(name: str) -> None:
    assert made(passed=(name,), trust={})[name] == made()[name]


def test_the_path_is_rebuilt_without_doubles() -> None:
    path = made(path=("/w/.venv/bin", "/usr/bin", "/usr/bin"))["PATH"].split(":")
    assert path[:2] == ["/w/.venv/bin", "/usr/bin"]
    assert len(path) == len(set(path))
    assert "/home/ann/bin" not in path
    assert "/bin" in path
