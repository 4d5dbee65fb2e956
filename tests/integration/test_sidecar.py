"""The sidecar as a process: what it lets through, and what happens when its policy changes, breaks, or vanishes."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dns.rcode
import jsonschema
import pytest

from rig.sidecar import Sidecar, sidecar
from rig.waiting import PATIENCE, eventually

SCHEMA: dict[str, Any] = json.loads((Path(__file__).parents[2] / "schemas" / "event.schema.json").read_text())


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Sidecar]:
    with sidecar(tmp_path) as made:
        yield made
        if made.log.exists():  # whatever a test made it do, what it wrote is what the schema says
            for event in made.events():
                jsonschema.validate(event, SCHEMA)


@pytest.fixture
def running(box: Sidecar) -> Sidecar:
    box.write(box.text("a.example.com"))
    return box.start()


@pytest.fixture(params=["--no-frame", "--frame"])
def either(box: Sidecar, request: pytest.FixtureRequest) -> Sidecar:
    """By itself, and under mitmproxy's frame."""
    if request.param == "--frame":
        pytest.importorskip("mitmproxy", reason="mitmproxy needs Python 3.13 here")
    box.write(box.text("a.example.com"))
    box.start(request.param)
    assert box.status()["frame"] == ("mitmproxy" if request.param == "--frame" else "plain")
    return box


def echoes(sock: socket.socket) -> bool:
    """Whether the tunnel carries bytes both ways."""
    try:
        sock.sendall(b"ping")
        return sock.recv(4) == b"ping"
    except OSError:
        return False


def closes(sock: socket.socket) -> bool:
    sock.settimeout(PATIENCE)
    try:
        return sock.recv(1) == b""
    except ConnectionError:
        return True


def loaded(box: Sidecar, count: int) -> list[str]:
    """What the log says of each of the first `count` loads."""
    eventually(lambda: len(box.events("sidecar.policy-loaded")) >= count, f"{count} loads are logged")
    return [event["detail"] for event in box.events("sidecar.policy-loaded")]


def test_allowed_passes_denied_does_not_and_the_log_has_both(either: Sidecar) -> None:
    sock, status, _ = either.tunnel("a.example.com")
    assert status == 200 and echoes(sock)
    sock.close()
    assert either.verdict("b.example.com") == (403, "egress.not-listed")
    assert either.outside.connections == 1
    assert set(either.resolver.asked) == {"a.example.com"}
    eventually(lambda: either.events("egress.not-listed"), "the denial is logged")
    (denial,) = either.events("egress.not-listed")
    assert (denial["host"], denial["port"]) == ("b.example.com", either.outside.port)
    assert denial["policy"] == either.status()["policy"]["digest"][:12]


@pytest.mark.parametrize("tcp", [False, True])
def test_names_are_answered_with_our_own_address_or_not_at_all(running: Sidecar, tcp: bool) -> None:
    allowed, denied, own = (running.ask(name, tcp=tcp) for name in ("a.example.com", "b.example.com", "kap"))
    assert [str(item) for rrset in allowed.answer for item in rrset] == ["127.0.0.1"]
    assert denied.rcode() == dns.rcode.NXDOMAIN
    assert [str(item) for rrset in own.answer for item in rrset] == ["127.0.0.1"]
    assert running.resolver.asked == []


def test_healthy_and_checked_from_outside(either: Sidecar) -> None:
    result = either.check("--json")
    report = json.loads(result.stdout)
    assert result.returncode == 0 and report["healthy"], report
    assert [check["name"].split()[0] for check in report["checks"]] == [
        "status",
        "proxy",
        "http",
        "tls",
        "dns",
        "dns-tcp",
    ]
    assert either.status()["healthy"] is True
    assert either.verdict("b.example.com") == (403, "egress.not-listed")
    eventually(lambda: either.events("egress.not-listed"), "what comes behind the probes is logged")
    assert [event["host"] for event in either.events() if event["kind"] == "decision"] == ["b.example.com"]


def test_healthy_with_a_policy_that_allows_everything(box: Sidecar) -> None:
    box.policy.write_text(f'[proxy]\ndns_upstream = "127.0.0.1:{box.resolver.port}"\n[proxy.network]\nallow = ["*"]\n')
    box.start()
    assert box.check().returncode == 0
    assert box.resolver.asked == []  # not even * includes the name of the probe, so no probe leaves the sidecar


def test_without_a_policy_everything_is_refused_and_health_is_red_until_one_appears(box: Sidecar) -> None:
    box.start()
    assert box.verdict("a.example.com") == (503, "egress.no-policy")
    assert box.ask("a.example.com").rcode() == dns.rcode.REFUSED
    assert box.status()["healthy"] is False
    result = box.check()
    assert result.returncode == 1 and "no policy is in force" in result.stderr
    eventually(lambda: any(event.get("subject") == "probe" for event in box.events("egress.no-policy")), "it is logged")
    box.write(box.text("a.example.com", more="\n"))
    box.loads(1)
    assert box.status()["healthy"] is True
    assert box.ask("a.example.com").rcode() == dns.rcode.NOERROR
    assert box.verdict("b.example.com") == (403, "egress.not-listed")


def test_widening_takes_effect_without_a_restart(running: Sidecar) -> None:
    assert running.verdict("b.example.com") == (403, "egress.not-listed")
    running.write(running.text("a.example.com", "b.example.com"))
    running.loads(2)
    assert running.verdict("b.example.com") == (200, "")
    assert loaded(running, 2) == ["2 rules", "3 rules"]


def test_narrowing_cuts_the_open_tunnel_and_keeps_the_others(either: Sidecar) -> None:
    either.write(either.text("a.example.com", "b.example.com"))
    either.loads(2)
    kept, cut = either.tunnel("a.example.com")[0], either.tunnel("b.example.com")[0]
    assert echoes(kept) and echoes(cut)
    either.write(either.text("a.example.com"))
    assert closes(cut)
    assert echoes(kept)
    assert either.verdict("b.example.com") == (403, "egress.not-listed")
    eventually(lambda: either.events("egress.revoked"), "the cut is logged")
    assert loaded(either, 3)[-1].endswith("1 connection cut")


def test_deny_in_the_global_file_takes_effect_too(running: Sidecar) -> None:
    running.write('[proxy.network]\ndeny = ["a.example.com"]\n', running.global_path())
    running.loads(2)
    assert running.verdict("a.example.com") == (403, "egress.deny-rule")


@pytest.mark.parametrize(
    "broken",
    [
        "[proxy.network\n",
        '[proxy.network]\nalow = ["b.example.com"]\n',
        '[proxy.network]\nallow = ["http://x/"]\n',
        "\0",
        "x" * 2_000_000,
    ],
    ids=["syntax", "unknown-key", "bad-rule", "control", "too-large"],
)
def test_a_broken_policy_changes_nothing_but_is_reported(running: Sidecar, broken: str) -> None:
    running.write(broken)
    eventually(lambda: running.events("sidecar.reload-failed"), "the failure is logged")
    assert running.verdict("a.example.com") == (200, "")
    assert running.verdict("b.example.com") == (403, "egress.not-listed")
    status = running.status()
    assert status["healthy"] is True and status["policy"]["error"].startswith(str(running.policy))
    (notice,) = running.events("sidecar.reload-failed")
    assert notice["detail"] == status["policy"]["error"][:255]
    running.write(running.text("b.example.com"))
    running.loads(2)
    assert running.verdict("b.example.com") == (200, "")
    assert running.status()["policy"]["error"] == ""
    assert "Traceback" not in running.stderr


def test_a_failed_reload_names_line_and_column(running: Sidecar) -> None:
    running.write('[proxy.network]\n  alow = ["b.example.com"]\n')
    eventually(lambda: running.events("sidecar.reload-failed"), "the failure is logged")
    (notice,) = running.events("sidecar.reload-failed")
    assert notice["detail"].startswith(f"{running.policy}:2:3: ") and "did you mean `allow`?" in notice["detail"]


def test_a_vanished_policy_changes_nothing_and_is_said_once(running: Sidecar) -> None:
    text = running.policy.read_text()
    running.policy.unlink()
    eventually(lambda: running.events("sidecar.policy-vanished"), "it is noticed")
    assert running.verdict("a.example.com") == (200, "")
    assert running.status()["healthy"] is True
    running.write(text)
    eventually(lambda: running.status()["policy"]["error"] == "", "it is back")
    running.policy.unlink()
    eventually(lambda: len(running.events("sidecar.policy-vanished")) == 2, "it is noticed again")


def test_a_vanished_global_file_does_not_lift_its_denials(running: Sidecar) -> None:
    running.write('[proxy.network]\ndeny = ["a.example.com"]\n', running.global_path())
    running.loads(2)
    (running.home / "global.toml").unlink()
    eventually(lambda: running.events("sidecar.policy-vanished"), "it is noticed")
    assert running.verdict("a.example.com") == (403, "egress.deny-rule")


def test_the_whole_folder_replaced_by_another_one(running: Sidecar) -> None:
    running.folder.rename(running.home / "old")
    eventually(lambda: running.events("sidecar.policy-vanished"), "it is noticed")
    running.folder.mkdir()
    running.policy.write_text(running.text("c.example.com"))
    running.loads(2)
    assert running.verdict("c.example.com") == (200, "")
    assert running.verdict("a.example.com") == (403, "egress.not-listed")


def test_a_truncated_file_is_given_time_to_be_filled(running: Sidecar) -> None:
    with running.policy.open("w") as file:  # truncates, as many editors do
        file.write(running.text("b.example.com"))
    running.loads(2)
    assert loaded(running, 2) == ["2 rules", "2 rules"]


def test_sigterm_ends_it_in_order(either: Sidecar) -> None:
    sock = either.tunnel("a.example.com")[0]
    assert echoes(sock)
    assert either.end(signal.SIGTERM) == 0
    assert closes(sock)
    assert either.events()[-1]["code"] == "sidecar.stopped" and either.events()[-1]["detail"] == "SIGTERM"
    assert either.status()["healthy"] is False
    assert either.check().returncode == 1


@pytest.mark.parametrize("frame", ["--no-frame", "--frame"])
def test_a_port_that_is_taken_is_a_clear_error(box: Sidecar, frame: str) -> None:
    box.write(box.text("a.example.com"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert box.launch(frame, "--listen", f"proxy=127.0.0.1:{port}").wait(PATIENCE) == 1
    assert f"cannot listen on 127.0.0.1:{port} (proxy): Address already in use" in box.stderr
    assert "fix:" in box.stderr and "Traceback" not in box.stderr


def test_missing_credentials_of_the_upstream_proxy_refuse_everything(box: Sidecar) -> None:
    box.write(
        box.text("a.example.com")
        + '[proxy.upstream]\nurl = "http://proxy.example.com:3128"\nauth_env = "KAP_TEST_NO_SUCH"\n'
    )
    box.start()
    assert box.verdict("a.example.com") == (503, "egress.no-policy")
    assert "KAP_TEST_NO_SUCH" in box.status()["policy"]["error"]
