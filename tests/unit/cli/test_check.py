"""``kap check`` as a person meets it: what is printed, where, and the exit code; every kind of bad file, never a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from kap.cli.check import command


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No global file but the test's own, and the project as working directory."""
    monkeypatch.setenv("KAP_HOME", str(tmp_path / "home"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


def kap_check(*arguments: str) -> Result:
    result = CliRunner().invoke(command, [*arguments], standalone_mode=False)
    if isinstance(result.exception, SystemExit) or result.exception is None:
        return result
    raise result.exception


def exit_code(result: Result) -> int:
    value = result.return_value
    assert isinstance(value, int)
    return value


def write(text: str, name: str = "kap.toml") -> None:
    Path(name).write_text(text, newline="")


def test_a_clean_file() -> None:
    write("presets = ['go']\n")
    result = kap_check()
    assert (exit_code(result), result.output) == (0, "no problems found\n")


def test_warnings_do_not_fail() -> None:
    write("[proxy.network]\nallow = ['*']\n")
    result = kap_check()
    assert exit_code(result) == 0
    assert result.output.endswith("0 errors, 1 warning\n")


def test_an_error_is_shown_with_its_line_and_carets() -> None:
    write('presets = ["go"]\n[proxy.network]\n\talow = ["漢字.example"] # é\n\tdeny = ["*hub.com"]\n')
    result = kap_check()
    assert exit_code(result) == 2
    assert result.output == (
        "error[config.unknown-key]: there is no key `alow` in [proxy.network]\n"
        " --> kap.toml:3:2\n"
        "  |\n"
        '3 |     alow = ["漢字.example"] # é\n'
        "  |     ^^^^\n"
        "  = fix: did you mean `allow`?\n"
        "\n"
        'error[config.pattern]: "*" stands only as a whole first label, as in "*.example.com", or alone; "*hub.com" has it elsewhere\n'
        " --> kap.toml:4:10\n"
        "  |\n"
        '4 |     deny = ["*hub.com"]\n'
        "  |             ^^^^^^^^^^\n"
        '  = fix: write "*.hub.com"\n'
        "\n"
        "2 errors, 0 warnings\n"
    )


def directory() -> None:
    Path("kap.toml").mkdir()


def sparse() -> None:
    with Path("kap.toml").open("wb") as file:
        file.truncate(100 * 1024 * 1024)


def raw(data: bytes) -> Callable[[], None]:
    return lambda: (Path("kap.toml").write_bytes(data), None)[1]


MATRIX: list[tuple[str, Callable[[], None], str, tuple[int, int]]] = [
    ("missing", lambda: None, "config.missing", (0, 0)),
    ("directory", directory, "config.not-a-file", (0, 0)),
    ("named pipe", lambda: os.mkfifo("kap.toml"), "config.not-a-file", (0, 0)),
    ("100 MB", sparse, "config.too-large", (0, 0)),
    ("a link in a circle", lambda: Path("kap.toml").symlink_to("kap.toml"), "config.unreadable", (0, 0)),
    ("a dangling link", lambda: Path("kap.toml").symlink_to("nowhere"), "config.missing", (0, 0)),
    ("empty", raw(b""), "config.nothing-allowed", (0, 0)),
    ("broken", raw(b"presets = ['go'\n[proxy]\n"), "config.syntax", (2, 1)),
    ("Latin-1", raw("# caf\xe9\n".encode("latin-1")), "config.not-utf8", (1, 6)),
    ("UTF-16", raw("presets = ['go']".encode("utf-16")), "config.not-utf8", (1, 1)),
    ("NUL", raw(b"presets = ['go']\n\0"), "config.syntax", (2, 1)),
    ("a picture", raw(b"\x89PNG\r\n\x1a\n\0\0\0"), "config.not-utf8", (1, 1)),
    ("byte order mark", raw("\ufeffpresets = ['go']".encode()), "config.bom", (1, 1)),
    ("CRLF", raw(b"presets = ['go']\r\nalow = 1\r\n"), "config.unknown-key", (2, 1)),
    ("one long line", raw(b"x" * 100_000), "config.syntax", (1, 100_000)),
    ("deeply nested", raw(b"a = " + b"[" * 50_000 + b"]" * 50_000), "config.syntax", (1, 1)),
    ("JSON", raw(b'{"presets": ["go"]}'), "config.syntax", (1, 1)),
    ("YAML", raw(b"presets:\n  - go\n"), "config.syntax", (1, 8)),
    ("near-miss key", raw(b"[proxy.network]\nalow = ['example.com']\n"), "config.unknown-key", (2, 1)),
    ("near-miss table", raw(b"[proxy.networks]\nallow = ['example.com']\n"), "config.unknown-key", (1, 8)),
    ("near-miss preset", raw(b"presets = ['pythn']\n"), "config.unknown-preset", (1, 12)),
    ("near-miss type", raw(b"ssh_agent = 'yes'\n"), "config.type", (1, 13)),
    ("near-miss value", raw(b"ssh_agent = True\n"), "config.syntax", (1, 13)),
    ("near-miss rule", raw(b"[proxy.network]\nallow = ['github.com/']\n"), "config.pattern", (2, 10)),
]


@pytest.mark.parametrize(("make", "code", "place"), [row[1:] for row in MATRIX], ids=[row[0] for row in MATRIX])
def test_bad_input(make: Callable[[], None], code: str, place: tuple[int, int]) -> None:
    make()
    result = kap_check("--json", "kap.toml")
    report: dict[str, Any] = json.loads(result.output)
    (problem,) = report["problems"]
    assert problem["code"] == code
    assert (problem["line"], problem["column"]) == place
    assert problem["path"] == "kap.toml"
    assert exit_code(result) == (2 if problem["severity"] == "error" else 0)
    plain = kap_check("kap.toml")
    assert code in plain.output
    assert max(map(len, plain.output.splitlines())) < 200
    assert not [one for one in plain.output if ord(one) < 32 and one != "\n"]


def test_the_process_prints_no_traceback_and_exits_2(tmp_path: Path) -> None:
    write("\udcff = 'x'\n".encode("utf-8", "surrogateescape").decode("latin-1"))
    environment = {**os.environ, "KAP_HOME": str(tmp_path / "home")}
    for arguments in (["kap.toml"], ["nowhere"], [], ["--json", "nowhere"], ["--sarif", "nowhere"]):
        out = subprocess.run(
            [sys.executable, "-m", "kap.cli.main", "check", *arguments],
            capture_output=True,
            text=True,
            env=environment,
            timeout=60,
            check=False,
        )
        assert out.returncode == 2
        assert "Traceback" not in out.stdout + out.stderr


def test_the_nearest_project_above_is_found() -> None:
    write("presets = ['nope-nope']\n")
    Path("a/b").mkdir(parents=True)
    result = kap_check("-C", "a/b")
    assert exit_code(result) == 2
    assert "--> kap.toml:1:12" in result.output


def test_no_project_and_two_files() -> None:
    result = kap_check()
    assert exit_code(result) == 2
    assert "error[config.missing]: there is no kap.toml here or in a directory above" in result.output
    write("presets = ['go']\n")
    Path(".devcontainer").mkdir()
    write("presets = ['go']\n", ".devcontainer/kap.toml")
    result = kap_check()
    assert exit_code(result) == 2
    assert "config.two-files" in result.output


def test_the_global_file_is_checked_with_the_project(tmp_path: Path) -> None:
    write("[proxy.network]\nallow = ['a.example']\n")
    (tmp_path / "home").mkdir()
    write("[proxy.network]\ndeny = ['a.example']\n", str(tmp_path / "home" / "kap.toml"))
    result = kap_check()
    assert exit_code(result) == 0
    assert "warning[config.defeated-rule]" in result.output
    write("deny = [", str(tmp_path / "home" / "kap.toml"))
    result = kap_check("kap.toml")
    assert exit_code(result) == 2
    assert f"{tmp_path}/home/kap.toml:1:" in result.output


def test_the_global_file_alone_is_checked_as_such(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    write("trust = 'workspace'\n", str(tmp_path / "home" / "kap.toml"))
    assert kap_check(str(tmp_path / "home" / "kap.toml")).output == "no problems found\n"


def test_no_secret_is_ever_printed() -> None:
    secret = "ghp_" + "a1B2" * 9
    write(f"presets = ['{secret}', 'x y']\n# {secret}\n[env]\n'{secret}' = 1\n")
    for arguments in ([], ["--json"], ["--sarif"]):
        result = kap_check(*arguments)
        assert exit_code(result) == 2
        assert "config.secret" in result.output
        assert secret[4:] not in result.output


def test_many_problems_are_counted_not_all_printed() -> None:
    write("".join(f"k{count} = 1\n" for count in range(500)))
    result = kap_check()
    assert result.output.count("error[") == 100
    assert "... and 400 more" in result.output
    assert result.output.endswith("500 errors, 0 warnings\n")
    assert len(json.loads(kap_check("--json").output)["problems"]) == 500


def test_colour_only_on_request_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    write("alow = 1\n")
    assert "\x1b" not in kap_check().output
    monkeypatch.setattr("kap.cli.render.wants_colour", lambda: True)
    assert "\x1b[31m" in CliRunner().invoke(command, [], standalone_mode=False, color=True).output
