"""Which process asked: over a /proc made for the test, and the bounds."""

from __future__ import annotations

from pathlib import Path

import pytest

from kap.audit.event import Event
from kap.host.attribution import PER_SECOND, Attribution

HEADER = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def row(local_port: int, inode: int) -> str:
    return f"   0: 0100007F:{local_port:04X} 0100007F:0C38 01 00000000:00000000 00:00000000 00000000  1000        0 {inode} 1 0\n"


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    for pid, inside, name, namespace in (
        (10, 1, "bwrap", "pid:[1]"),
        (11, 2, "curl", "pid:[1]"),
        (12, 12, "host", "pid:[0]"),
    ):
        base = tmp_path / str(pid)
        for part in ("net", "fd", "ns"):
            (base / part).mkdir(parents=True)
        (base / "status").write_text(f"Name:\t{name}\nNSpid:\t{pid}\t{inside}\n")
        (base / "ns" / "pid").symlink_to(namespace)
    for pid in (11, 12):
        (tmp_path / str(pid) / "fd" / "5").symlink_to("socket:[777]")
    (tmp_path / "10" / "net" / "tcp").write_text(HEADER + row(3128, 1) + row(40000, 777))
    (tmp_path / "10" / "net" / "udp").write_text(HEADER + row(40001, 777))
    return tmp_path


def asked(proc: Path, client: str, plane: str = "egress") -> str:
    return Attribution(10, proc=proc)(Event("decision", plane, "egress.not-listed", verdict="deny", client=client))


def test_the_capsules_process_by_its_own_number(proc: Path) -> None:
    assert asked(proc, "127.0.0.1:40000") == "curl[2]"
    assert asked(proc, "127.0.0.1:40001", "dns") == "curl[2]"


@pytest.mark.parametrize("client", ["", "127.0.0.1", "127.0.0.1:1", "x:y", "127.0.0.1:99999999"])
def test_unknown_is_empty(proc: Path, client: str) -> None:
    assert asked(proc, client) == ""


def test_a_process_that_ended(proc: Path) -> None:
    (proc / "11" / "fd" / "5").unlink()
    assert asked(proc, "127.0.0.1:40000") == "", "the host's own process with that socket is not named"


def test_no_proc_at_all(tmp_path: Path) -> None:
    assert asked(tmp_path, "127.0.0.1:40000") == ""


def test_lookups_are_bounded(proc: Path) -> None:
    now = [100.0]
    ask = Attribution(10, proc=proc, clock=lambda: now[0])
    event = Event("decision", "egress", "egress.not-listed", verdict="deny", client="127.0.0.1:40000")
    answers = [ask(event) for _ in range(PER_SECOND + 5)]
    assert answers == ["curl[2]"] * PER_SECOND + [""] * 5
    now[0] += 1.5
    assert ask(event) == "curl[2]"


def test_a_name_with_control_characters_is_bounded(proc: Path) -> None:
    (proc / "11" / "status").write_text("Name:\t" + "x" * 500 + "\nNSpid:\t11\t2\n")
    assert len(asked(proc, "127.0.0.1:40000")) < 50
