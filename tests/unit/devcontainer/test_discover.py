"""Finding and reading devcontainer.json: where the specification looks, comments, and what cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from kap.devcontainer import discover, jsonc
from kap.errors import ConfigError

GOOD = '{"dockerComposeFile": ["compose.yml", "kap.overlay.yml"], "service": "app"}'


def write(path: Path, text: str = GOOD) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_a_compose_project_is_read(tmp_path: Path) -> None:
    write(tmp_path / ".devcontainer" / "devcontainer.json")
    found = discover.read(tmp_path)
    assert found.service == "app"
    assert found.compose_files == (tmp_path / ".devcontainer" / "compose.yml",)
    assert found.overlay == tmp_path / ".devcontainer" / "kap.overlay.yml"
    assert found.overlay_listed


def test_one_compose_file_above(tmp_path: Path) -> None:
    write(
        tmp_path / ".devcontainer" / "devcontainer.json",
        '{"dockerComposeFile": "../docker-compose.yml", "service": "web"}',
    )
    found = discover.read(tmp_path)
    assert found.compose_files == (tmp_path / "docker-compose.yml",)
    assert not found.overlay_listed


def test_an_overlay_that_is_not_last_counts_as_not_listed(tmp_path: Path) -> None:
    write(
        tmp_path / ".devcontainer" / "devcontainer.json",
        '{"dockerComposeFile": ["kap.overlay.yml", "compose.yml"], "service": "app"}',
    )
    assert not discover.read(tmp_path).overlay_listed


def test_the_file_in_the_root_and_in_a_named_folder(tmp_path: Path) -> None:
    write(tmp_path / ".devcontainer.json")
    assert discover.read(tmp_path).overlay == tmp_path / ".devcontainer" / "kap.overlay.yml"
    other = tmp_path / "other"
    write(other / ".devcontainer" / "python" / "devcontainer.json")
    assert discover.read(other).overlay == other / ".devcontainer" / "python" / "kap.overlay.yml"


def test_two_named_folders_are_an_error_that_names_both(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / ".devcontainer" / name / "devcontainer.json")
    with pytest.raises(ConfigError, match="several dev containers") as raised:
        discover.read(tmp_path)
    assert "a/devcontainer.json" in raised.value.message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "cannot be read"),
        ("[]", "no object"),
        ('"x"', "no object"),
        ("{}", "no compose file"),
        ('{"image": "x"}', "no compose file"),
        ('{"dockerComposeFile": []}', "no compose file"),
        ('{"dockerComposeFile": [7], "service": "a"}', "no compose file"),
        ('{"dockerComposeFile": "c.yml"}', 'no "service"'),
        ('{"dockerComposeFile": "c.yml", "service": 7}', 'no "service"'),
        ('{"dockerComposeFile": "${localEnv:X}.yml", "service": "a"}', "variable in its name"),
        ("{/* no end", "line 1 does not end"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(tmp_path: Path, text: str, says: str) -> None:
    path = write(tmp_path / ".devcontainer" / "devcontainer.json", text)
    with pytest.raises(ConfigError) as raised:
        discover.read(tmp_path)
    assert says in raised.value.message
    assert str(path) in raised.value.message
    assert raised.value.hint


def test_no_dev_container_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no dev container"):
        discover.read(tmp_path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1, // c\n "b": [1, 2,], /* d */ }', {"a": 1, "b": [1, 2]}),
        ('\ufeff{"a": "// no comment /* neither */ ,}"}', {"a": "// no comment /* neither */ ,}"}),
        ('{"a": "\\"//", }', {"a": '"//'}),
        ('{"a": 1, /* c */ // d\n }', {"a": 1}),
        ("// only\n[1]", [1]),
    ],
)
def test_json_with_comments(text: str, value: object) -> None:
    assert jsonc.loads(text) == value


@pytest.mark.parametrize("text", ["", "{,}", "{'a': 1}", '{"a": 1,,}', "/* x", '{"a": "\n"}', "{1: 2}"])
def test_what_is_not_json_even_with_comments_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        jsonc.loads(text)


def test_an_error_names_the_line_the_author_sees() -> None:
    with pytest.raises(ValueError, match="line 3"):
        jsonc.loads("{\n/* two\n*/ nonsense }")
