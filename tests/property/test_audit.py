"""The log and its readers under anything: any text round-trips, any bytes are survived, any order folds the same."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from kap.audit.event import Event
from kap.audit.fold import fold
from kap.audit.log import AuditLog
from kap.audit.printable import printable
from kap.audit.reader import LogReader
from kap.audit.tail import Tail

TEXT = st.text(st.characters(codec=None), max_size=400)  # with lone surrogates
CODES = st.sampled_from(
    ["egress.not-listed", "dns.not-listed", "egress.deny-rule", "dns.deny-rule", "dns.type-refused", "egress.not-tls"]
)


@given(host=TEXT, detail=TEXT, process=TEXT, method=TEXT)
def test_any_text_becomes_one_valid_bounded_line(host: str, detail: str, process: str, method: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.jsonl"
        log = AuditLog(path)
        log.record(
            Event(
                "decision",
                "egress",
                "egress.x",
                verdict="deny",
                host=host,
                detail=detail,
                process=process,
                method=method,
            )
        )
        log.close()
        data = path.read_bytes()
        assert data.count(b"\n") == 1 and data.endswith(b"\n")
        record = json.loads(data.decode())
        assert all(len(record.get(name, "")) <= 255 for name in ("host", "detail", "process", "method"))
        (event,) = LogReader(path).read()
        assert event.host == record.get("host", "")


@given(data=st.binary(max_size=300), cut=st.integers(0, 300))
def test_any_bytes_around_events_lose_no_event(data: bytes, cut: int) -> None:
    good = msgspec.json.encode(Event("notice", "sidecar", "sidecar.x", seq=77)) + b"\n"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.jsonl"
        path.touch()
        tail = Tail(path)
        tail.skip_to_end()
        with path.open("ab", buffering=0) as file:
            stream = good + data + b"\n" + good
            file.write(stream[:cut])
            followed = tail.poll()
            file.write(stream[cut:])
            followed += tail.poll()
        tail.close()
        assert [event.seq for event in LogReader(path).read()].count(77) >= 2
        assert [event.seq for event in LogReader(path).last(1000)].count(77) >= 2
        assert [event.seq for event in followed].count(77) >= 2


@st.composite
def events(draw: st.DrawFn) -> list[Event]:
    made: list[Event] = []
    for number in range(draw(st.integers(0, 30))):
        code = draw(CODES)
        plane = code.partition(".")[0]
        port = 0 if plane == "dns" else draw(st.sampled_from([22, 443]))
        host = draw(st.sampled_from(["a.example.com", "b.example.com"]))
        made.append(Event("decision", plane, code, verdict="deny", host=host, port=port, ts=float(number)))
    return made


@given(events())
@settings(deadline=None)
def test_folding_counts_every_denial_once(stream: list[Event]) -> None:
    denials = fold(stream)
    assert sum(denial.count for denial in denials) == len(stream)
    assert [denial.last for denial in denials] == sorted(denial.last for denial in denials)
    assert len({(denial.host, denial.port, denial.code) for denial in denials}) == len(denials)
    named = {(denial.host, denial.code) for denial in denials if denial.port}
    for denial in denials:  # a refused name never stands beside the refused connection it announced
        assert not (denial.by_name_only and (denial.host, denial.code.replace("dns.", "egress.")) in named)


@given(TEXT)
def test_printable_is_one_line_of_harmless_characters_and_idempotent_in_effect(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert len(shown) <= 10 * 255 + 1
    shown.encode()
