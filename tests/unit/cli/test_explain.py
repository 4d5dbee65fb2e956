"""``kap explain`` from outside: exit codes, what people read, what programs read, and any bytes on standard input."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner, Result

from kap.cli.explain import command

REPO = Path(__file__).resolve().parents[3]
SCHEMA = json.loads((REPO / "schemas" / "explanation.schema.json").read_text("utf-8"))
TEXT = """\
[proxy.network]
allow = ["github.com", "*.example.com"]
deny = ["bad.example.com"]
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KAP_HOME", str(tmp_path / "home"))
    (tmp_path / "kap.toml").write_text(TEXT, "utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "kap.toml"


def run(*arguments: str, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(command, list(arguments), input=stdin, standalone_mode=False)


def answers(result: Result) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    for row in rows:
        jsonschema.validate(row, SCHEMA)
    return rows


@pytest.mark.parametrize(
    ("targets", "exit_code"),
    [
        (["github.com"], 0),
        (["https://a.example.com/x", "github.com:80"], 0),
        (["github.com", "evil.test"], 1),
        (["1.2.3.4:25"], 1),
        (["::1"], 1),
        (["fe80::1%eth0"], 2),
        (["ftp://github.com/"], 2),
        (["https://user@github.com/"], 2),
        (["github.com", ""], 2),
    ],
)
def test_exit_codes(project: Path, targets: list[str], exit_code: int) -> None:
    assert run(*targets).return_value == exit_code


def test_people_read_the_reason_the_rule_with_its_place_and_the_fix(project: Path) -> None:
    shown = run("github.com:22", "bad.example.com").stdout
    assert "github.com:22: denied  egress.port-not-listed" in shown
    assert 'rule  "github.com"  kap.toml:2  (project)' in shown
    assert 'fix   add "github.com:22" to allow' in shown
    assert 'fix   take "bad.example.com" out of deny' in shown
    assert "docs/codes/egress.port-not-listed.md" in shown
    assert "\x1b" not in shown, "no colour where there is no terminal"


def test_a_target_cannot_write_on_the_terminal(project: Path) -> None:
    shown = run("\x1b[2Jevil\u202e", "\ud800").stdout
    assert "\x1b" not in shown and "\u202e" not in shown
    assert "\\x1b[2Jevil\\u{202e}" in shown
    assert shown.count("egress.bad-target") >= 2


def test_programs_read_one_object_for_each_target(project: Path) -> None:
    rows = answers(run("--json", "github.com", "github.com:22", "http://", "::1"))
    assert [row["code"] for row in rows] == [
        "egress.allowed",
        "egress.port-not-listed",
        "egress.bad-target",
        "egress.ip-not-listed",
    ]
    rule = {"text": "github.com", "layer": "project", "path": str(project), "line": 2, "via": ""}
    assert rows[0]["rule"] == rule
    assert rows[2]["rule"] is None
    assert rows[1]["fixes"][0]["edits"] == [
        {"op": "append", "route": ["proxy", "network", "allow"], "value": "github.com:22"}
    ]


def test_standard_input_takes_any_bytes_and_answers_every_line_in_order(project: Path) -> None:
    lines = [
        b"github.com",
        b"\xff\xfe",
        b"",
        b"github.com\r",
        b"a\x00b",
        b"x" * 200_000,
        "bücher.example.com".encode(),
        b"evil.test",
    ]
    result = run("--config", str(project), "--json", "-", stdin=b"\n".join(lines))
    rows = answers(result)
    assert [row["code"].removeprefix("egress.") for row in rows] == [
        "allowed",
        *["bad-target"] * 5,
        "allowed",
        "not-listed",
    ]
    assert all(set(row) == {"target", "verdict", "code", "rule"} for row in rows)
    assert rows[0]["target"] == "github.com"
    assert rows[1]["target"] == "\\xff\\xfe"
    assert result.return_value == 0


def test_ten_thousand_lines_get_ten_thousand_answers(project: Path) -> None:
    lines = "".join(f"h{i}.example.com\n" if i % 2 else f"h{i}.test:99\n" for i in range(10_000))
    rows = [json.loads(line) for line in run("--json", "-", stdin=lines.encode()).stdout.splitlines()]
    assert [row["target"] for row in rows] == lines.splitlines()
    assert {row["code"] for row in rows} == {"egress.allowed", "egress.not-listed"}


def test_answers_come_line_by_line_and_not_at_the_end(project: Path) -> None:
    argv = [sys.executable, "-m", "kap.cli.main", "explain", "--json", "-"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=project.parent) as process:
        assert process.stdin and process.stdout
        for name, verdict in (("github.com", "allow"), ("evil.test", "deny")):
            process.stdin.write(name.encode() + b"\n")
            process.stdin.flush()
            row = json.loads(process.stdout.readline())
            assert (row["target"], row["verdict"]) == (name, verdict)
        process.stdin.close()
        assert process.wait(timeout=30) == 0


@pytest.mark.parametrize(
    "text", ["[proxy.network]\nallow = ['*hub.com']\n", "[proxy.network\n", "unknown = 1\n", "\udcff"]
)
def test_a_broken_policy_denies_every_line_and_shows_its_problems(project: Path, text: str) -> None:
    project.write_bytes(text.encode("utf-8", "surrogateescape"))
    result = run("--json", "-", stdin=b"github.com\n\xff\n")
    assert result.return_value == 2
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    denied = {"verdict": "deny", "code": "egress.no-policy", "rule": None}
    assert rows == [{"target": "github.com", **denied}, {"target": "\\xff", **denied}]
    assert "error[config." in result.stderr


@pytest.mark.parametrize("arguments", [("-",), ("github.com",), ("--json", "github.com")])
def test_a_broken_policy_answers_a_person_with_its_problems_alone(project: Path, arguments: tuple[str, ...]) -> None:
    project.write_text("unknown = 1\n", "utf-8")
    result = run(*arguments, stdin=b"github.com\n")
    assert (result.return_value, result.stdout) == (2, "")
    assert "error[config." in result.stderr


def test_the_whole_program_exits_2_on_a_broken_policy_and_denies(project: Path) -> None:
    project.write_text("[proxy.network]\nallow = ['*hub.com']\n", "utf-8")
    argv = [sys.executable, "-m", "kap.cli.main", "explain", "--json", "-"]
    out = subprocess.run(argv, input=b"github.com\n", capture_output=True, cwd=project.parent, timeout=60, check=False)
    assert (out.returncode, json.loads(out.stdout)["code"]) == (2, "egress.no-policy")
    assert b"*.hub.com" in out.stderr and b"Traceback" not in out.stderr


def test_no_policy_at_all_is_bad_input(project: Path) -> None:
    project.unlink()
    result = run("github.com")
    assert "kap.toml" in str(result.exception)


def test_a_dash_stands_alone(project: Path) -> None:
    result = run("-", "github.com")
    assert "stands alone" in str(result.exception)


def test_the_global_file_has_its_say(project: Path, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "kap.toml").write_text('[proxy.network]\ndeny = ["github.com"]\n', "utf-8")
    rows = answers(run("--json", "github.com"))
    assert (rows[0]["code"], rows[0]["rule"]["layer"]) == ("egress.deny-rule", "global")


def test_lines_longer_than_memory_allows_are_skipped_not_kept() -> None:
    from kap.cli.explain import _lines

    found = list(_lines(io.BytesIO(b"y" * 1_000_000 + b"\nnext\n")))
    assert found[0][1] is None and len(found[0][0]) <= 1024
    assert found[1] == ("next", "next")
