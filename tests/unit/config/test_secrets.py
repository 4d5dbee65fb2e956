"""Pasted secrets: found in values and comments, in broken files too, and never repeated by anything that is said about the file."""

from __future__ import annotations

import pytest

from kap.config.check import check
from kap.config.lints.secrets import find, redact
from kap.document.toml import parse

# Made up, in the shape each issuer documents; split so that no scanner takes this file for a leak.
SECRETS = [
    "ghp_" + "a1B2" * 9,
    "gho_" + "a1B2" * 9,
    "github_pat_" + "A1b2C3d4E5f6G7h8I9j0K1_" + "a1B2" * 10,
    "glpat-" + "a1B2c3D4e5F6g7H8i9J0",
    "sk-ant-" + "api03-" + "Ab1_" * 20,
    "sk-proj-" + "Ab1-" * 10,
    "sk-" + "Ab12" * 10,
    "AKIA" + "IOSFODNN7EXAMPLQ",
    "AIza" + "Sy" + "a1B2c3D4e" * 3 + "a1B2c3",
    "xoxb-" + "123456789012-abcdefGHIJ",
    "npm_" + "a1B2c3D4" * 5,
    "hf_" + "a1B2c3D4" * 5,
    "SG." + "a1B2c3D4e5F6g7H8" + "." + "a1B2c3D4e5F6g7H8",
    "eyJ" + "hbGciOiJIUzI1NiJ9" + ".eyJ" + "zdWIiOiIxMjM0In0" + ".c2lnbmF0dXJl",
    "-----BEGIN " + "OPENSSH PRIVATE KEY-----",
    "-----BEGIN " + "PRIVATE KEY-----",
]


@pytest.mark.parametrize("secret", SECRETS, ids=lambda secret: secret[:6])
@pytest.mark.parametrize(
    "shape",
    [
        "presets = ['go']\n[env]\nX = '{}'\n",
        "# {}\npresets = ['go']\n",
        "[proxy.network]\nallow = ['{}']\n",
        "presets = ['{}']\n",
        "'{}' = 1\n",
        "broken = [ '{}\n",
        "[proxy]\nlisten = '{}'\n",
        "[proxy.network]\nallow = ['https://{}.example.com/']\n",
    ],
)
def test_a_secret_is_an_error_and_never_said(secret: str, shape: str) -> None:
    text = shape.format(secret)
    result = check(parse(text))
    found = [one for one in result.problems if one.code == "config.secret"]
    assert len(found) == 1 and found[0].severity == "error"
    assert found[0].span is not None and text[found[0].span.start :].startswith(secret[:20])
    assert result.file is None
    assert secret[4:] not in repr(result.problems)


@pytest.mark.parametrize(
    "text",
    [
        "ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "sk-ant-...",
        "${GH_TOKEN}",
        "task-runner-with-a-long-name-and-more-words"[:12],
        "https://user:password@proxy.example.com",
        "https://${USER}:${PASS}@proxy.example.com",
        "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
    ],
)
def test_what_is_none(text: str) -> None:
    assert [*find(text)] == []


def test_redaction_keeps_columns() -> None:
    secret = SECRETS[0]
    assert redact(f"x = '{secret}' # y") == f"x = '{'*' * len(secret)}' # y"
    assert redact("nothing here") == "nothing here"


def test_a_login_in_a_url_is_found() -> None:
    assert [what for _, _, what in find("http://bob:hunter2@proxy.example.com")] == ["a password in a URL"]
