"""The name server live, over UDP and TCP, against an upstream that records what it is asked."""

from __future__ import annotations

import asyncio
import importlib.util
import socket
from pathlib import Path

import dns.asyncquery
import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest

from kap.config.model import Limits
from kap.dns.server import NameServer
from kap.errors import ConfigError
from kap.names.hosts import Host
from kap.policy.compiler import compile_rules
from kap.policy.live import Live
from kap.policy.request import NameRequest

_spec = importlib.util.spec_from_file_location("dns_lab", Path(__file__).with_name("lab.py"))
assert _spec is not None and _spec.loader is not None
lab = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(lab)

NOERROR, SERVFAIL, NXDOMAIN, REFUSED = dns.rcode.NOERROR, dns.rcode.SERVFAIL, dns.rcode.NXDOMAIN, dns.rcode.REFUSED


def texts(message: dns.message.Message) -> list[str]:
    return [item.to_text() for rrset in message.answer for item in rrset]


@pytest.mark.parametrize("tcp", [False, True])
async def test_in_self_mode_allowed_names_are_the_sidecar_and_nobody_is_asked(tcp: bool) -> None:
    async with lab.serve(addresses=("10.9.0.2", "fd00::2", "10.9.0.3")) as served:
        assert texts(await served.ask("x.allowed.test", tcp=tcp)) == ["10.9.0.2", "10.9.0.3"]
        assert texts(await served.ask("ALLOWED.test", "AAAA", tcp=tcp)) == ["fd00::2"]
        assert served.log.codes() == ["dns.allowed", "dns.allowed"]
        event = served.log.events[1]
        assert (event.host, event.method, event.verdict, event.plane) == ("allowed.test", "AAAA", "allow", "dns")
        assert event.rule is not None and event.rule.text == "allowed.test"
        assert event.policy == served.live.policy.digest[:12]
        assert event.client.startswith("127.0.0.1:")


async def test_without_an_ipv6_address_aaaa_is_an_empty_noerror() -> None:
    async with lab.serve(addresses=("10.9.0.2",)) as served:
        got = await served.ask("allowed.test", "AAAA")
        assert (got.rcode(), got.answer) == (NOERROR, [])
        assert served.log.codes() == ["dns.allowed"]


@pytest.mark.parametrize("answer", ["self", "forward"])
async def test_denied_names_do_not_exist_and_the_reason_is_told(answer: str) -> None:
    async with lab.upstream() as fake, lab.serve(answer=answer, upstream=f"127.0.0.1:{fake.port}") as served:
        got = await served.ask("evil.example", use_edns=0)
        assert (got.rcode(), got.answer, got.authority) == (NXDOMAIN, [], [])
        assert [(o.code, o.text) for o in got.options] == [(dns.edns.EDECode.BLOCKED, "dns.not-listed")]
        assert (await served.ask("x.denied.test")).rcode() == NXDOMAIN
        assert (await served.ask("xallowed.test", "AAAA", tcp=True)).rcode() == NXDOMAIN
        assert served.log.codes() == ["dns.not-listed", "dns.deny-rule", "dns.not-listed"]
        assert fake.asked == []


@pytest.mark.parametrize("answer", ["self", "forward"])
@pytest.mark.parametrize("rtype", ["HTTPS", "SVCB"])
async def test_https_records_are_withheld_without_denying_the_name(answer: str, rtype: str) -> None:
    async with lab.upstream() as fake, lab.serve(answer=answer, upstream=f"127.0.0.1:{fake.port}") as served:
        got = await served.ask("x.allowed.test", rtype)
        assert (got.rcode(), got.answer) == (NOERROR, [])
        assert (await served.ask("x.denied.test", rtype)).rcode() == NXDOMAIN
        assert served.log.codes() == ["dns.allowed", "dns.deny-rule"]
        assert fake.asked == []


@pytest.mark.parametrize("answer", ["self", "forward"])
@pytest.mark.parametrize(
    "rtype", ["ANY", "MX", "NS", "SRV", "NULL", "CNAME", "SOA", "PTR", "CAA", "DS", "AXFR", "TYPE65280"]
)
async def test_other_types_of_allowed_names_are_refused(answer: str, rtype: str) -> None:
    async with lab.upstream() as fake, lab.serve(answer=answer, upstream=f"127.0.0.1:{fake.port}") as served:
        query = dns.message.make_query("x.allowed.test", rtype, use_edns=0)
        got = dns.message.from_wire(await served.send_raw(query.to_wire()))
        assert (got.rcode(), got.answer) == (REFUSED, [])
        assert got.options[0].text == "dns.type-refused"
        assert "dns.type-refused" in served.log.codes()
        assert fake.asked == []


async def test_own_names_are_answered_whatever_the_policy() -> None:
    async with lab.serve(None, names={"Kap": ("10.9.0.2", "fd00::2"), "one": "10.9.0.3"}) as served:
        assert texts(await served.ask("KAP")) == ["10.9.0.2"]
        assert texts(await served.ask("kap", "AAAA")) == ["fd00::2"]
        assert texts(await served.ask("one")) == ["10.9.0.3"]
        assert (await served.ask("one", "TXT")).answer == []


async def test_without_a_policy_everything_else_is_refused() -> None:
    async with lab.forwarding(None) as (served, fake):
        got = await served.ask("allowed.test", use_edns=0)
        assert (got.rcode(), got.options[0].text) == (REFUSED, "egress.no-policy")
        assert served.log.codes() == ["egress.no-policy"]
        assert fake.asked == []


@pytest.mark.parametrize("tcp", [False, True])
async def test_forwarding_asks_for_the_canonical_name_with_nothing_of_the_client_in_it(tcp: bool) -> None:
    async with lab.forwarding() as (served, fake):
        options = [
            dns.edns.ECSOption("10.1.2.3", 24),
            dns.edns.GenericOption(10, b"COOKIE!!"),
            dns.edns.GenericOption(12, b"pad"),
        ]
        got = await served.ask("X.aLLowed.TEST", tcp=tcp, use_edns=0, payload=4096, options=options, want_dnssec=True)
        assert texts(got) == [lab.PUBLIC]
        assert got.question[0].name.to_text() == "X.aLLowed.TEST."
        assert fake.asked == ["x.allowed.test"]
        sent = dns.message.from_wire(fake.raw[0])
        assert (sent.options, sent.flags, sent.ednsflags) == ((), dns.flags.RD, 0)
        assert b"COOKIE" not in fake.raw[0] and b"LL" not in fake.raw[0]
        assert served.log.codes() == ["dns.allowed"]


async def test_forwarded_answers_of_every_kind() -> None:
    async with lab.forwarding() as (served, _):
        assert texts(await served.ask("x.allowed.test", "AAAA")) == [lab.PUBLIC6]
        assert texts(await served.ask("alias.allowed.test")) == ["cdn.example.net.", lab.PUBLIC]
        assert (await served.ask("nx.allowed.test")).rcode() == NXDOMAIN
        assert (await served.ask("wrongname.allowed.test")).answer == []
        assert set(served.log.codes()) == {"dns.allowed"}


@pytest.mark.parametrize("word", ["servfail", "refuse", "cname-loop", "garbage"])
async def test_upstream_trouble_is_servfail(word: str) -> None:
    async with lab.forwarding(limits=lab.SHORT) as (served, _):
        got = await served.ask(f"{word}.allowed.test", use_edns=0)
        assert (got.rcode(), got.answer) == (SERVFAIL, [])
        assert served.log.codes() == ["dns.upstream-failure"]
        assert served.log.events[0].detail


async def test_a_silent_upstream_is_servfail_in_time_and_others_are_not_held_up() -> None:
    async with lab.forwarding(limits=lab.SHORT) as (served, fake):
        silent = asyncio.ensure_future(served.ask("drop.allowed.test"))
        assert texts(await served.ask("x.allowed.test")) == [lab.PUBLIC]
        assert not silent.done()
        assert (await silent).rcode() == SERVFAIL
        assert served.log.codes() == ["dns.allowed", "dns.upstream-failure"]
        assert fake.asked.count("drop.allowed.test") == 2, "asked once more before it is given up"


async def test_a_lost_datagram_is_sent_again() -> None:
    async with lab.forwarding(limits=lab.SHORT) as (served, _):
        assert texts(await served.ask("once.allowed.test")) == [lab.PUBLIC]


async def test_addresses_behind_the_wall_are_withheld() -> None:
    async with lab.forwarding() as (served, _):
        got = await served.ask("private.allowed.test", use_edns=0)
        assert (got.rcode(), got.answer, got.options[0].text) == (NOERROR, [], "egress.address-not-global")
        assert (await served.ask("private.allowed.test", "AAAA")).answer == [], (
            "an IPv4-mapped address is the IPv4 address"
        )
        assert texts(await served.ask("mixed.allowed.test")) == [lab.PUBLIC]
        assert served.log.codes() == ["egress.address-not-global"] * 2 + ["dns.allowed", "egress.address-not-global"]
        events = [(event.address, event.verdict) for event in served.log.events]
        assert events[:3] == [("127.0.0.1", "deny"), ("127.0.0.1", "deny"), ("", "allow")]
        assert events[3] in [("10.0.0.1", "deny"), ("169.254.169.254", "deny")], "the first of the withheld"


async def test_a_granted_private_range_is_answered() -> None:
    async with lab.forwarding({"allow": ["*.allowed.test"], "private": ["10.0.0.0/8"]}) as (served, _):
        assert set(texts(await served.ask("mixed.allowed.test"))) == {lab.PUBLIC, "10.0.0.1"}


async def test_an_answer_too_long_for_udp_is_cut_and_whole_over_tcp() -> None:
    async with lab.forwarding() as (served, fake):
        short = await served.ask("many.allowed.test", use_edns=0, payload=4096)
        assert short.flags & dns.flags.TC and short.answer == []
        whole = await served.ask("many.allowed.test", tcp=True)
        assert len(texts(whole)) == 300
        assert fake.asked[:2] == ["many.allowed.test"] * 2, "the truncated answer was fetched over TCP"


async def test_equal_questions_are_asked_once_and_then_remembered() -> None:
    async with lab.forwarding() as (served, fake):
        got = await asyncio.gather(*(served.ask("slow.allowed.test", tcp=n % 2 == 0) for n in range(8)))
        assert [texts(message) for message in got] == [[lab.PUBLIC]] * 8
        assert texts(await served.ask("slow.allowed.test")) == [lab.PUBLIC]
        assert fake.asked == ["slow.allowed.test"]
        assert served.log.codes() == ["dns.allowed"] * 9


async def test_an_answer_without_ttl_is_asked_for_every_time() -> None:
    async with lab.forwarding() as (served, fake):
        for _ in range(3):
            assert texts(await served.ask("fresh.allowed.test")) == [lab.PUBLIC]
        assert fake.asked == ["fresh.allowed.test"] * 3


async def test_ports_and_ids_change() -> None:
    async with lab.forwarding() as (served, fake):
        for n in range(24):
            await served.ask(f"n{n}.allowed.test")
        assert len(fake.ports) >= 4
        assert len({raw[:2] for raw in fake.raw}) > 16


async def test_the_limit_of_open_questions() -> None:
    async with lab.forwarding(limits=Limits(dns_inflight=2, dns_seconds=1.0)) as (served, fake):
        waiting = [asyncio.ensure_future(served.ask(f"drop.{n}.allowed.test", timeout=5)) for n in range(2)]
        await lab.until(lambda: len(fake.asked) == 2)
        got = await served.ask("x.allowed.test")
        assert got.rcode() == SERVFAIL
        assert served.log.codes() == ["dns.limit"]
        assert [(await message).rcode() for message in waiting] == [SERVFAIL] * 2
        assert texts(await served.ask("x.allowed.test")) == [lab.PUBLIC]


async def test_a_new_policy_holds_at_once_for_names_addresses_and_what_is_remembered() -> None:
    async with lab.forwarding({"allow": ["*.allowed.test"], "private": ["10.0.0.0/8"]}) as (served, fake):
        assert len(texts(await served.ask("mixed.allowed.test"))) == 2
        served.live.policy = compile_rules(allow=["*.allowed.test"])
        assert texts(await served.ask("mixed.allowed.test")) == [lab.PUBLIC]
        under_way = asyncio.ensure_future(served.ask("slow.allowed.test"))
        await lab.until(lambda: "slow.allowed.test" in fake.asked)
        served.live.policy = compile_rules(allow=["other.test"])
        assert (await served.ask("mixed.allowed.test")).rcode() == NXDOMAIN
        assert (await under_way).rcode() == NXDOMAIN
        served.live.policy = None
        assert (await served.ask("mixed.allowed.test")).rcode() == REFUSED


async def test_a_new_policy_holds_at_once_in_self_mode() -> None:
    async with lab.serve() as served:
        assert (await served.ask("allowed.test")).answer
        served.live.policy = compile_rules(allow=["other.test"])
        assert (await served.ask("allowed.test")).rcode() == NXDOMAIN
        served.live.policy = compile_rules(allow=["allowed.test"])
        assert (await served.ask("allowed.test")).answer
        assert served.log.codes() == ["dns.allowed", "dns.not-listed", "dns.allowed"]


@pytest.mark.parametrize("answer", ["self", "forward"])
async def test_types_without_a_codec_are_refused_even_with_a_policy_that_allows_everything(answer: str) -> None:
    policy = compile_rules(allow=["allowed.test"])

    class Generous:
        digest = policy.digest

        def decide(self, request: object) -> object:
            return policy.decide(NameRequest(Host("allowed.test")))

    async with (
        lab.upstream() as fake,
        lab.serve(Generous(), answer=answer, upstream=f"127.0.0.1:{fake.port}") as served,
    ):
        assert (await served.ask("allowed.test", "MX")).rcode() == REFUSED
        assert served.log.codes() == ["dns.type-refused"]
        assert fake.asked == []


async def test_an_exception_is_servfail_and_an_event_with_a_policy_that_raises() -> None:
    class Broken:
        digest = "0" * 64

        def decide(self, request: object) -> None:
            raise RuntimeError("secret of the client")

    async with lab.forwarding(Broken()) as (served, fake):
        for tcp in (False, True):
            assert (await served.ask("allowed.test", tcp=tcp)).rcode() == SERVFAIL
        assert served.log.codes() == ["dns.internal-error"] * 2
        assert "secret" not in served.log.events[0].detail and "RuntimeError" in served.log.events[0].detail
        assert fake.asked == []


async def test_an_exception_while_answering_is_servfail_with_a_policy_that_breaks_half_way() -> None:
    policy = compile_rules(allow=["*.allowed.test"])

    class HalfBroken:
        digest = policy.digest

        def decide(self, request: object) -> object:
            if hasattr(request, "address"):
                raise RuntimeError
            return policy.decide(request)

    async with lab.forwarding(HalfBroken()) as (served, fake):
        got = await served.ask("x.allowed.test")
        assert (got.rcode(), got.answer) == (SERVFAIL, [])
        assert served.log.codes() == ["dns.internal-error"]
        assert fake.asked == ["x.allowed.test"]


async def test_a_datagram_socket_that_was_closed_from_outside_can_be_opened_again() -> None:
    async with lab.serve() as served:
        port = served.port
        for _ in range(3):
            old = next(iter(served.server._sockets.values()))
            number = old.fileno()
            old.close()
            again = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            again.bind(("127.0.0.1", port))
            assert again.fileno() == number, "the lowest free descriptor is the one just closed"
            await served.server.serve_udp(again)
            assert (await served.ask("allowed.test")).answer


def test_a_server_that_cannot_work_says_so() -> None:
    log = lab.MemoryLog()
    for options in ({"addresses": ["nowhere"]}, {"names": {"a b": "10.0.0.1"}}, {"names": {"a": "b"}}):
        with pytest.raises(ConfigError):
            NameServer(Live(), log, **options)
    with pytest.raises(ConfigError):
        NameServer(Live(), log, answer="forward", upstream="dns.example.com")


async def test_txt_of_an_allowed_name_is_forwarded_whole_over_tcp_and_cut_over_udp() -> None:
    async with lab.forwarding() as (served, fake):
        cut = await served.ask("big.allowed.test", "TXT")
        assert (cut.answer, bool(cut.flags & dns.flags.TC)) == ([], True)
        whole = await served.ask("big.allowed.test", "TXT", tcp=True)
        assert [len(item.strings[0]) for rrset in whole.answer for item in rrset] == [203] * 8
        assert (await served.ask("big.denied.test", "TXT")).rcode() == NXDOMAIN
        assert set(fake.asked) == {"big.allowed.test"}
        assert served.log.codes()[:2] == ["dns.allowed", "dns.allowed"]


async def test_txt_of_an_allowed_name_is_empty_where_kap_answers_itself() -> None:
    async with lab.upstream() as fake, lab.serve(addresses=("10.9.0.2",), upstream=f"127.0.0.1:{fake.port}") as served:
        got = await served.ask("big.allowed.test", "TXT")
        assert (got.rcode(), got.answer, fake.asked) == (0, [], [])
        assert served.log.codes() == ["dns.allowed"]
