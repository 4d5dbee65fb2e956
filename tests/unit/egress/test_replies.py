"""Answers: a status and a reason per code, something to act on, nothing of the client's bytes unescaped."""

from __future__ import annotations

import json

import pytest

from kap.egress.http1 import End, ResponseHead, ResponseParser
from kap.egress.replies import advice, body_text, reply
from kap.policy.codes import CODES
from kap.policy.decision import RuleRef

RULE = RuleRef("project", ("proxy", "network", "deny", 0), "*.evil.example")


def parsed(raw: bytes, method: bytes = b"GET") -> tuple[ResponseHead, bytes]:
    parser = ResponseParser()
    parser.expect(method)
    parser.feed(raw)
    head, body = parser.next(), b""
    assert isinstance(head, ResponseHead)
    while (event := parser.next()) is not None and not isinstance(event, End):
        body += bytes(event)  # type: ignore[arg-type]
    assert parser.idle
    return head, body


@pytest.mark.parametrize("code", [code for code in CODES if code.startswith("egress.")])
def test_every_code(code: str) -> None:
    raw = reply(code, host="example.com", port=443)
    if not CODES[code].status:
        assert raw == b""
        return
    head, body = parsed(raw)
    assert head.status == CODES[code].status
    assert head.fields.get(b"x-kap-reason") == code.encode()
    assert head.fields.close and not head.keep_alive
    assert head.fields.get(b"cache-control") == b"no-store"
    text = body.decode()
    assert CODES[code].title in text and "example.com:443" in text and text.endswith(".\n")


def test_the_line_to_add() -> None:
    assert 'add "evil.example" to allow under [proxy.network] in kap.toml' in advice(
        "egress.not-listed", "evil.example", 443
    )
    assert 'add "evil.example:8443" to' in advice("egress.port-not-listed", "evil.example", 8443)
    assert 'add "[2001:db8::1]:22" to' in advice("egress.ip-not-listed", "2001:db8::1", 22)
    assert "`kap explain [2001:db8::1]:22`" in advice("egress.ip-not-listed", "2001:db8::1", 22)


def test_the_rule_that_decided() -> None:
    text = body_text("egress.deny-rule", host="a.evil.example", port=443, rule=RULE)
    assert 'The rule is "*.evil.example" in the project layer.' in text
    assert "No rule allows it." in body_text("egress.not-listed", host="a.example", port=443)


@pytest.mark.parametrize("accept", [b"application/json", b"text/html, Application/JSON;q=0.5"])
def test_json_where_it_is_asked_for(accept: bytes) -> None:
    head, body = parsed(reply("egress.deny-rule", host="a.evil.example", port=443, rule=RULE, accept=accept))
    assert head.fields.get(b"content-type") == b"application/json"
    value = json.loads(body)
    assert value["error"] == "egress.deny-rule" and value["host"] == "a.evil.example" and value["port"] == 443
    assert value["rule"] == {"text": "*.evil.example", "layer": "project", "via": ""}
    assert "kap explain" in value["fix"]


@pytest.mark.parametrize("accept", [None, b"*/*", b"text/html"])
def test_text_else(accept: bytes | None) -> None:
    head, _ = parsed(reply("egress.not-listed", accept=accept))
    assert head.fields.get(b"content-type") == b"text/plain; charset=utf-8"


HOSTILE = "\r\nSet-Cookie: a=b\r\n\r\n\x1b[31m<script>\u202e\x00" + "x" * 5000


@pytest.mark.parametrize("accept", [None, b"application/json"])
def test_client_bytes_are_escaped_and_cut(accept: bytes | None) -> None:
    raw = reply("egress.bad-request", host=HOSTILE, port=1, detail=HOSTILE, accept=accept)
    head, body = parsed(raw)
    assert head.fields.get(b"set-cookie") is None
    assert all(byte in b"\n" or 0x20 <= byte < 0x7F for byte in body)
    assert len(raw) < 3000


def test_answer_to_head_and_keep_alive() -> None:
    raw = reply("egress.not-listed", host="a.example", port=80, body=False, close=False)
    assert raw.endswith(b"\r\n\r\n") and b"Connection: close" not in raw
    head, _ = parsed(raw, b"HEAD")
    assert head.fields.length and head.keep_alive


def test_status_and_headers_of_an_upstream_proxy() -> None:
    raw = reply("egress.upstream-proxy", status=407, headers=[(b"Retry-After", b"5")])
    head, _ = parsed(raw)
    assert head.status == 407 and head.fields.get(b"retry-after") == b"5"
    assert parsed(reply("egress.limit-connections"))[0].fields.get(b"retry-after") == b"1"
