"""What a person is told was denied: one line per host, port and reason."""

from __future__ import annotations

from kap.audit.event import Event
from kap.audit.fold import Fold, fold
from kap.policy.decision import RuleRef


def egress(
    host: str = "a.example.com", port: int = 443, code: str = "egress.not-listed", ts: float = 1.0, **more: object
) -> Event:
    return Event("decision", "egress", code, verdict="deny", host=host, port=port, ts=ts, **more)  # type: ignore[arg-type]


def dns(host: str = "a.example.com", code: str = "dns.not-listed", ts: float = 1.0, method: str = "A") -> Event:
    return Event("decision", "dns", code, verdict="deny", host=host, ts=ts, method=method)


def test_repeats_fold_with_count_and_times() -> None:
    (denial,) = fold([egress(ts=5.0, method="CONNECT"), egress(ts=7.0, method="TLS"), egress(ts=6.0, method="TLS")])
    assert (denial.host, denial.port, denial.code, denial.count) == ("a.example.com", 443, "egress.not-listed", 3)
    assert (denial.first, denial.last) == (5.0, 7.0)
    assert denial.methods == ["CONNECT", "TLS"]


def test_ports_and_reasons_stay_apart() -> None:
    denials = fold([egress(), egress(port=22, code="egress.port-not-listed"), egress(code="egress.sni-mismatch")])
    assert [denial.code for denial in denials] == ["egress.not-listed", "egress.port-not-listed", "egress.sni-mismatch"]


def test_dns_refusal_joins_the_connection_that_follows() -> None:
    (denial,) = fold([dns(), dns(method="AAAA"), egress(ts=2.0, method="CONNECT")])
    assert (denial.port, denial.code, denial.count) == (443, "egress.not-listed", 3)
    assert denial.methods == ["A", "AAAA", "CONNECT"]
    assert not denial.by_name_only


def test_dns_refusal_joins_the_connection_before() -> None:
    (denial,) = fold([egress(), dns(ts=2.0)])
    assert (denial.port, denial.count, denial.last) == (443, 2, 2.0)


def test_dns_refusal_alone_says_so() -> None:
    (denial,) = fold([dns()])
    assert denial.by_name_only and denial.code == "dns.not-listed"


def test_no_policy_is_one_denial_from_both_planes() -> None:
    first = Event("decision", "dns", "egress.no-policy", verdict="deny", host="a.example.com", ts=1.0, method="A")
    (denial,) = fold([first])
    assert denial.by_name_only and denial.port == 0
    (denial,) = fold([first, egress(code="egress.no-policy", ts=2.0)])
    assert (denial.port, denial.count, denial.by_name_only) == (443, 2, False)


def test_dns_refusal_of_another_reason_or_host_does_not_join() -> None:
    assert len(fold([dns(), egress(code="egress.deny-rule"), egress(host="b.example.com")])) == 3
    assert len(fold([dns(code="dns.type-refused"), egress()])) == 2


def test_probes_notices_and_allowed_are_no_denials() -> None:
    events = [
        egress(subject="probe"),
        Event("notice", "sidecar", "sidecar.reload-failed"),
        Event("decision", "egress", "egress.allowed", verdict="allow", host="a.example.com", port=443),
        Event("closed", "egress", "egress.allowed", host="a.example.com", port=443),
    ]
    assert fold(events) == []


def test_a_cut_tunnel_is_a_denial() -> None:
    (denial,) = fold([Event("closed", "egress", "egress.revoked", host="a.example.com", port=443, ts=3.0)])
    assert denial.code == "egress.revoked"


def test_newest_is_last_and_its_rule_and_policy_are_kept() -> None:
    old, new = (RuleRef("project", ("deny", index), "a.example.com") for index in (0, 1))
    denials = fold(
        [
            egress(ts=1.0, rule=old, policy="0" * 12),
            egress(host="b.example.com", ts=2.0),
            egress(ts=3.0, rule=new, policy="1" * 12, process="curl[7]"),
        ]
    )
    assert [denial.host for denial in denials] == ["b.example.com", "a.example.com"]
    assert denials[1].rule == new and denials[1].policy == "1" * 12 and denials[1].processes == ["curl[7]"]


def test_a_flood_of_hosts_is_bounded_and_counted() -> None:
    folded = Fold(limit=10)
    for number in range(25):
        folded.add(dns(f"h{number}.example.com", ts=float(number)))
        folded.add(egress(f"h{number}.example.com", ts=float(number)))
    assert [denial.host for denial in folded.denials()] == [f"h{number}.example.com" for number in range(15, 25)]
    assert folded.forgotten == 15
    assert len(folded._port) == 10


def test_add_tells_new_from_repeated() -> None:
    folded = Fold()
    first, second = folded.add(egress()), folded.add(egress())
    assert first is second and second is not None and second.count == 2
    assert folded.add(Event("notice", "sidecar", "sidecar.started")) is None


def test_names_kept_are_bounded() -> None:
    (denial,) = fold([egress(process=f"p[{number}]") for number in range(50)])
    assert len(denial.processes) == 8
