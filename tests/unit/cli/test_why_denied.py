"""``kap why-denied`` end to end: a log and a kap.toml in, words, JSON, or a changed kap.toml out."""

from __future__ import annotations

import json
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from kap.audit.event import Event
from kap.audit.log import AuditLog
from kap.cli import denial_view, why_denied
from kap.errors import KapError, UsageError
from kap.policy.decision import RuleRef

SCHEMA: dict[str, Any] = json.loads((Path(__file__).parents[3] / "schemas" / "denial.schema.json").read_text())
KAP_TOML = '# mine\n[proxy.network]\nallow = ["a.example.com"]  # keep\n'

Run = Callable[..., tuple[int, str, str]]


def deny(code: str = "egress.not-listed", host: str = "b.example.com", port: int = 443, **more: Any) -> Event:
    plane = "dns" if code.startswith("dns.") else "egress"
    return Event("decision", plane, code, verdict="deny", host=host, port=0 if plane == "dns" else port, **more)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KAP_HOME", str(tmp_path / "home"))
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "kap.toml").write_text(KAP_TOML)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def log(project: Path) -> AuditLog:
    from kap.host.state import project_state

    return AuditLog(project_state(project).events)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> tuple[int, str, str]:
        code = why_denied.command.main(list(arguments), standalone_mode=False)
        out, err = capsys.readouterr()
        return code, out, err

    return call


def test_folds_names_the_want_of_a_rule_and_the_exact_line_to_add(log: AuditLog, run: Run) -> None:
    log.record(deny("dns.not-listed", method="A"))
    for _ in range(3):
        log.record(deny(method="CONNECT", process="curl[42]"))
    code, out, err = run()
    assert code == 0
    assert out.splitlines()[0] == "4× b.example.com:443  egress.not-listed: the host is not in the allowlist"
    assert "    by   curl[42]" in out and "    rule none" in out and "A, CONNECT" in out
    assert '    fix  add "b.example.com" to allow in [proxy.network]' in out
    assert 'kap.toml:3:  allow = ["a.example.com", "b.example.com"]  # keep' in out
    assert "kap why-denied --fix" in err


def test_names_the_rule_with_file_and_line(project: Path, log: AuditLog, run: Run) -> None:
    (project / "kap.toml").write_text(KAP_TOML + 'deny = [\n  "b.example.com",\n]\n')
    rule = RuleRef("project", ("proxy", "network", "deny", 0), "b.example.com")
    log.record(deny("egress.deny-rule", rule=rule))
    _, out, _ = run()
    assert f'rule "b.example.com" {project / "kap.toml"}:5 (project)' in out
    assert 'fix  take "b.example.com" out of deny' in out


def test_allowed_now_says_so_and_offers_nothing(project: Path, log: AuditLog, run: Run) -> None:
    log.record(deny(host="a.example.com"))
    _, out, err = run()
    assert f'now  allowed now by "a.example.com" {project / "kap.toml"}:3 (project)' in out
    assert "fix" not in out and "--fix" not in err


def test_newest_last_and_the_older_ones_counted(log: AuditLog, run: Run) -> None:
    for number in range(6):
        log.record(deny(host=f"h{number}.example.com"))
    _, out, err = run("--limit", "2")
    assert [line.split(":")[0] for line in out.splitlines() if line.startswith("h")] == [
        "h4.example.com",
        "h5.example.com",
    ]
    assert "(4 older not shown" in err
    assert run("--limit", "0")[1].count("egress.not-listed:") == 6


def test_probes_are_left_out(log: AuditLog, run: Run) -> None:
    log.record(deny(host="kap-probe.invalid", code="egress.no-policy"))
    assert run()[1] == "Nothing was refused.\n"


def test_the_log_of_the_projects_sidecar_is_read_too(project: Path, log: AuditLog, run: Run) -> None:
    log.record(deny(host="one.example.com"))
    AuditLog(log.path.parent / "sidecar" / "events.jsonl").record(deny(host="two.example.com"))
    _, out, _ = run()
    assert "one.example.com" in out and "two.example.com" in out


def test_another_project_s_log_is_not(project: Path, log: AuditLog, run: Run, tmp_path: Path) -> None:
    log.record(deny())
    other = tmp_path / "other"
    other.mkdir()
    (other / "kap.toml").write_text("")
    with pytest.raises(KapError, match=r"there is no audit log of .*other yet"):
        run("-C", str(other))


def test_a_folder_below_the_project_and_devcontainer_find_it(project: Path, log: AuditLog, run: Run) -> None:
    log.record(deny())
    (project / ".devcontainer").mkdir()
    (project / "kap.toml").rename(project / ".devcontainer" / "kap.toml")
    below = project / "src" / "deep"
    below.mkdir(parents=True)
    assert "b.example.com" in run("-C", str(below))[1]


def test_hosts_choose(log: AuditLog, run: Run) -> None:
    log.record(deny())
    log.record(deny(host="xn--mnchen-3ya.example.com"))
    _, out, _ = run("München.example.com.")
    assert "xn--mnchen-3ya" in out and "b.example.com" not in out
    assert run("none.example.com")[1] == "Nothing was refused of these hosts.\n"


def test_hostile_text_is_escaped(log: AuditLog, run: Run) -> None:
    hostile = "\x1b[2J\u202eevil\r\n\x9b"
    log.record(
        deny("egress.bad-target", host=hostile, detail=hostile, process=hostile, method=hostile, address=hostile)
    )
    _, out, err = run()
    assert all(char == "\n" or char.isprintable() for char in out + err)
    assert "\\x1b[2J\\u202eevil\\x0d\\x0a\\x9b" in out


def test_json_is_versioned_and_valid(log: AuditLog, run: Run) -> None:
    log.record(deny("dns.not-listed", method="A"))
    log.record(deny(host="\x1b\udc80", code="egress.bad-target"))
    log.record(deny(host="a.example.com"))
    log.record(deny("egress.address-not-global", host="a.example.com", address="10.0.0.1"))
    code, out, _ = run("--json")
    records = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and len(records) == 4 and out.isascii()
    for record in records:
        jsonschema.validate(record, SCHEMA)
    assert [record["allowed_now"] for record in records] == [False, False, True, False]
    assert records[0]["now"]["fixes"][0]["edits"] == [
        {"op": "append", "route": ["proxy", "network", "allow"], "value": "b.example.com"}
    ]


def test_json_of_nothing_is_nothing(log: AuditLog, run: Run) -> None:
    log.record(Event("notice", "sidecar", "sidecar.started"))
    assert run("--json") == (0, "", "")


@pytest.mark.parametrize(
    ("text", "ago"), [("90s", 90), ("15m", 900), ("2h", 7200), ("1h30m", 5400), ("1d", 86_400), ("1w", 604_800)]
)
def test_since_ago(text: str, ago: int) -> None:
    assert why_denied.parse_since(text, 1_000_000.0) == 1_000_000.0 - ago


@pytest.mark.parametrize("text", ["2026-01-31T08:00+00:00", "2026-01-31T08:00Z", "2026-01-31T09:00:00+01:00"])
def test_since_a_time(text: str) -> None:
    assert why_denied.parse_since(text, 0.0) == 1_769_846_400.0


@pytest.mark.parametrize(
    "text", ["", "x", "15", "m", "-5m", "15 m", "9999999999s", "0001-01-01", "2026-13-01", "１５m"]
)
def test_since_nonsense(text: str) -> None:
    with pytest.raises(UsageError, match="is no time"):
        why_denied.parse_since(text, 0.0)


def test_since_leaves_out_what_was_before(log: AuditLog, run: Run) -> None:
    log.record(deny())
    assert run("--since", "1h")[1].startswith("b.example.com")
    assert run("--since", "2999-01-01")[1] == "Nothing was refused.\n"


def test_no_log_and_no_such_log(project: Path, run: Run) -> None:
    with pytest.raises(KapError, match="no capsule of it ran") as none:
        run()
    assert none.value.exit_code == 1 and "kap run" in none.value.hint
    with pytest.raises(UsageError, match=r"there is no log .*x\.jsonl"):
        run("--log", "x.jsonl")


def test_a_log_without_denials(log: AuditLog, run: Run) -> None:
    log.record(Event("decision", "egress", "egress.allowed", verdict="allow", host="a.example.com", port=443))
    assert run() == (0, "Nothing was refused.\n", "")


def test_a_broken_policy_is_said_and_the_log_shown_all_the_same(project: Path, log: AuditLog, run: Run) -> None:
    (project / "kap.toml").write_text("[proxy.network\n")
    log.record(deny())
    code, out, err = run()
    assert code == 0 and "b.example.com:443" in out
    assert err.startswith("kap: the policy has errors")


def test_garbage_in_the_log_is_counted(log: AuditLog, run: Run) -> None:
    log.record(deny())
    with log.path.open("ab") as file:
        file.write(b'{"verdict":"deny" nonsense\n\xff\xfe\n')
    _, out, err = run()
    assert "b.example.com" in out and "(1 line of the log is no event" in err


# --fix


def test_fix_changes_what_it_shows_and_keeps_the_rest(project: Path, log: AuditLog, run: Run) -> None:
    path = project / "kap.toml"
    path.chmod(0o640)
    log.record(deny())
    log.record(deny("egress.port-not-listed", host="a.example.com", port=22))
    code, out, _ = run("--fix", "--yes")
    assert code == 0
    wanted = 'allow = ["a.example.com", "b.example.com", "a.example.com:22"]  # keep'
    assert path.read_text() == KAP_TOML.replace('allow = ["a.example.com"]  # keep', wanted)
    assert f"+{wanted}" in out and '-allow = ["a.example.com"]  # keep' in out
    assert (project / "kap.toml.bak").read_text() == KAP_TOML
    assert {stat.S_IMODE(one.stat().st_mode) for one in (path, project / "kap.toml.bak")} == {0o640}
    assert sorted(one.name for one in project.iterdir()) == ["kap.toml", "kap.toml.bak"]
    assert "allowed now" in run()[1]
    assert run("--fix", "--yes")[1].startswith("There is nothing to fix")


def test_fix_of_some_hosts_only(project: Path, log: AuditLog, run: Run) -> None:
    log.record(deny())
    log.record(deny(host="c.example.com"))
    run("--fix", "--yes", "c.example.com")
    assert '"c.example.com"' in (project / "kap.toml").read_text()
    assert '"b.example.com"' not in (project / "kap.toml").read_text()


def test_fix_asks_and_no_is_no(project: Path, log: AuditLog, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    log.record(deny())
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.confirm", lambda *args, **kwargs: False)
    code, out, _ = run("--fix")
    assert code == 1 and out.endswith("Nothing was changed.\n")
    assert (project / "kap.toml").read_text() == KAP_TOML


def test_fix_leaves_a_file_alone_that_changed_while_it_asked(
    project: Path, log: AuditLog, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def confirm(*args: object, **kwargs: object) -> bool:
        (project / "kap.toml").write_text(KAP_TOML + "# somebody else\n")
        return True

    log.record(deny())
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.confirm", confirm)
    with pytest.raises(KapError, match="changed by somebody else"):
        run("--fix")
    assert (project / "kap.toml").read_text() == KAP_TOML + "# somebody else\n"
    assert [one.name for one in project.iterdir()] == ["kap.toml"]


def test_fix_with_nobody_to_ask_changes_nothing(project: Path, log: AuditLog, run: Run) -> None:
    log.record(deny())
    with pytest.raises(UsageError, match="nobody to ask"):
        run("--fix")
    assert (project / "kap.toml").read_text() == KAP_TOML


def test_fix_takes_several_rules_out_of_one_list(project: Path, log: AuditLog, run: Run) -> None:
    hosts = [f"h{number}.example.com" for number in range(4)]
    (project / "kap.toml").write_text(f'[proxy.network]\nallow = ["*"]\ndeny = {json.dumps(hosts)}\n')
    for number in (1, 3, 2):
        log.record(deny("egress.deny-rule", host=hosts[number]))
    run("--fix", "--yes")
    assert (project / "kap.toml").read_text() == '[proxy.network]\nallow = ["*"]\ndeny = ["h0.example.com"]\n'


def test_fix_does_not_offer_credentials_or_ourselves(project: Path, log: AuditLog, run: Run) -> None:
    log.record(deny("egress.always-denied", host="169.254.169.254", port=80))
    log.record(deny(host="localhost"))
    assert run("--fix", "--yes")[1].startswith("There is nothing to fix")
    assert (project / "kap.toml").read_text() == KAP_TOML


def test_fix_of_a_flood_is_refused(project: Path, log: AuditLog, run: Run) -> None:
    for number in range(40):
        log.record(deny(host=f"h{number}.example.com"))
    with pytest.raises(KapError, match="40 fixes at once"):
        run("--fix", "--yes")
    assert (project / "kap.toml").read_text() == KAP_TOML


def test_fix_needs_a_kap_toml_without_errors(project: Path, log: AuditLog, run: Run) -> None:
    log.record(deny())
    (project / "kap.toml").write_text(KAP_TOML + "unknown = 1\n")
    with pytest.raises(KapError, match="has errors, so it is not edited"):
        run("--fix", "--yes")
    (project / "kap.toml").unlink()
    with pytest.raises(KapError, match=r"there is no kap\.toml"):
        run("--fix", "--yes")


def test_fix_keeps_every_earlier_copy(project: Path, log: AuditLog, run: Run) -> None:
    (project / "kap.toml.bak").write_text("mine, do not touch")
    log.record(deny())
    run("--fix", "--yes")
    assert (project / "kap.toml.bak").read_text() == "mine, do not touch"
    assert (project / "kap.toml.bak1").read_text() == KAP_TOML


@pytest.mark.parametrize("what", ["file", "folder"])
def test_fix_follows_no_link_out_of_the_project(
    project: Path, log: AuditLog, run: Run, tmp_path: Path, what: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (project / "kap.toml").rename(outside / "kap.toml")
    if what == "file":
        (project / "kap.toml").symlink_to(outside / "kap.toml")
    else:
        (project / ".devcontainer").symlink_to(outside)
    log.record(deny())
    with pytest.raises(KapError, match=r"is a link|cannot be written"):
        run("--fix", "--yes")
    assert [one.name for one in outside.iterdir()] == ["kap.toml"]
    assert (outside / "kap.toml").read_text() == KAP_TOML


def test_fix_says_what_a_dev_container_needs_besides(project: Path, log: AuditLog, run: Run) -> None:
    log.record(deny())
    (log.path.parent / "policy").mkdir()
    (log.path.parent / "policy" / "kap.toml").write_text(KAP_TOML)
    assert "kap overlay" in run("--fix", "--yes")[1]


@pytest.mark.parametrize("arguments", [("--tail", "--fix"), ("--json", "--fix"), ("--yes",)])
def test_options_that_make_no_sense_together(project: Path, run: Run, arguments: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        run(*arguments)


# --tail


def test_tail_shows_new_ones_whole_and_repeats_in_a_line(
    log: AuditLog, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.record(deny())
    steps: list[Callable[[], None]] = [
        lambda: log.record(deny(host="c.example.com")),
        lambda: log.record(deny(host="c.example.com")),
        lambda: log.record(deny()),
    ]

    def nap(seconds: float) -> None:
        if not steps:
            raise KeyboardInterrupt
        steps.pop(0)()

    monkeypatch.setattr(denial_view.time, "sleep", nap)
    code, out, _ = run("--tail")
    assert code == 0
    heads = [line for line in out.splitlines() if "example.com:443" in line and not line.startswith(" ")]
    assert heads[0].startswith("b.example.com:443") and heads[1].startswith("c.example.com:443")
    assert [line.split("  ", 1)[1] for line in heads[2:]] == [
        "c.example.com:443  egress.not-listed, 2 times by now",
        "b.example.com:443  egress.not-listed, 2 times by now",
    ]


def test_tail_of_a_log_that_does_not_exist_yet(project: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    path = project / "later.jsonl"
    steps = [lambda: AuditLog(path).record(deny())]

    def nap(seconds: float) -> None:
        if not steps:
            raise KeyboardInterrupt
        steps.pop(0)()

    monkeypatch.setattr(denial_view.time, "sleep", nap)
    _, out, _ = run("--tail", "--json", "--log", str(path))
    assert [json.loads(line)["host"] for line in out.splitlines()] == ["b.example.com"]


def test_tail_judges_by_the_policy_of_the_moment(
    project: Path, log: AuditLog, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.record(deny())

    def change() -> None:
        (project / "kap.toml").write_text('[proxy.network]\nallow = ["*.example.com"]\n')
        log.record(deny(host="c.example.com"))

    steps = [change]

    def nap(seconds: float) -> None:
        if not steps:
            raise KeyboardInterrupt
        steps.pop(0)()

    monkeypatch.setattr(denial_view.time, "sleep", nap)
    _, out, _ = run("--tail")
    assert out.index("rule none") < out.index("allowed now")


def test_a_large_log_is_searched_in_bounded_time_and_memory(log: AuditLog, run: Run) -> None:
    for number in range(20_000):
        log.record(
            Event("decision", "egress", "egress.allowed", verdict="allow", host=f"h{number % 7}.example.com", port=443)
        )
    log.record(deny(ts=time.time()))
    assert run()[1].startswith("b.example.com:443")
