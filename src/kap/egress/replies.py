"""What a client reads when kap answers in place of the host it asked for: what was refused, why, and what to do about it. Sans-io.

Rules: the status and title come from `kap.policy.codes`; the code stands in ``X-Kap-Reason``; nothing a client sent is echoed before it
is escaped and cut; the body never says more about the policy than the rule that decided.

Sources: RFC 9110 15 (status codes), 9.3.2 (HEAD), 10.2.3 (Retry-After); RFC 9112 9.6 (Connection: close).
"""

from __future__ import annotations

import http
from collections.abc import Iterable

import msgspec

from kap.policy.codes import CODES, FAULTS_OF_HOST
from kap.policy.decision import RuleRef

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
_SHOWN = 200
_OPENS = frozenset({"egress.not-listed", "egress.port-not-listed", "egress.ip-not-listed", "egress.always-denied"})
_PRIVATE = frozenset({"egress.address-not-global"})
_NO_RULE = frozenset({"egress.not-listed", "egress.port-not-listed", "egress.ip-not-listed"})
_COMES_BACK = frozenset({"egress.limit-connections", "egress.no-policy"})


def reply(
    code: str,
    *,
    host: str = "",
    port: int = 0,
    rule: RuleRef | None = None,
    detail: str = "",
    accept: bytes | None = None,
    status: int = 0,
    headers: Iterable[tuple[bytes, bytes]] = (),
    body: bool = True,
    close: bool = True,
) -> bytes:
    """The whole response for `code`; b"" where the code has no HTTP status (the connection is then closed without a word).

    `host`, `port`: what was asked for, if it was understood. `rule`: the one that decided. `detail`: more words for a person. `accept`:
    the request's Accept; JSON is sent where it names ``application/json``. `status`, `headers`: in place of the code's own status,
    and in addition (an upstream proxy's). `body`: False in answer to HEAD. `close`: whether the connection ends here."""
    known = CODES[code]
    number = status or known.status
    if not number:
        return b""
    as_json = accept is not None and b"application/json" in accept.lower()
    content = _json(code, host, port, rule, detail) if as_json else _text(code, host, port, rule, detail)
    lines = [
        # Of a refused CONNECT most clients show only this line: the code has to be in it.
        f"HTTP/1.1 {number} {_phrase(number)} by kap: {code}\r\n".encode("ascii"),
        b"Content-Type: application/json\r\n" if as_json else b"Content-Type: text/plain; charset=utf-8\r\n",
        b"Content-Length: %d\r\n" % len(content),
        b"X-Kap-Reason: %b\r\n" % code.encode("ascii"),
        b"X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n",
    ]
    if code in _COMES_BACK:
        lines.append(b"Retry-After: 1\r\n")
    lines.extend([b"%b: %b\r\n" % pair for pair in headers])
    lines.append(b"Connection: close\r\n\r\n" if close else b"\r\n")
    if body:
        lines.append(content)
    return b"".join(lines)


def body_text(code: str, *, host: str = "", port: int = 0, rule: RuleRef | None = None, detail: str = "") -> str:
    """The three lines alone: what was refused, by which rule, what to do."""
    return _text(code, host, port, rule, detail).decode("utf-8")


def advice(code: str, host: str = "", port: int = 0) -> str:
    """What a person can do about `code`: the line to add to kap.toml, or where to look."""
    where = _spell(host, port)
    look = f"`kap explain {where}`" if where else "`kap why-denied`"
    if code in _OPENS and host:
        entry = msgspec.json.encode(_entry(host, port)).decode()
        return (
            f"To allow it, add {entry} to allow under [proxy.network] in kap.toml. On the host, {look} shows the rules."
        )
    if code in _PRIVATE and host:
        return (
            "If that address is right, add its range to private under [proxy.network] in kap.toml, "
            f'like private = ["10.1.0.0/16"]. On the host, {look} shows the address.'
        )
    if code == "egress.deny-rule":
        return f"A deny rule wins over every allow; on the host, {look} shows where it is written."
    if code in FAULTS_OF_HOST:
        return f"kap allows the host; the fault is between kap and it. On the host, {look} and `kap status` tell more."
    return f"On the host, `kap why-denied` shows it, and docs/codes/{code}.md says what to do."


def printable(text: str, limit: int = _SHOWN) -> str:
    """`text` with everything but printable ASCII escaped, cut to `limit` characters."""
    shown = "".join(c if " " <= c <= "~" else c.encode("unicode_escape").decode("ascii") for c in text[:limit])
    return shown[:limit]


def _text(code: str, host: str, port: int, rule: RuleRef | None, detail: str) -> bytes:
    what = _spell(host, port) or "the request"
    more = f": {printable(detail)}" if detail else ""
    lines = [f"kap: {what} was not let through: {CODES[code].title} ({code}){more}"]
    if rule is not None:
        lines.append(f"The rule is {_rule_text(rule)}.")
    elif code in _NO_RULE:
        lines.append("No rule allows it.")
    lines.append(advice(code, host, port))
    return ("\n".join(lines) + "\n").encode("utf-8")


def _json(code: str, host: str, port: int, rule: RuleRef | None, detail: str) -> bytes:
    value: dict[str, object] = {"error": code, "title": CODES[code].title}
    if host:
        value |= {"host": printable(host), "port": port}
    if rule is not None:
        value["rule"] = {"text": rule.text, "layer": rule.layer, "via": rule.via}
    if detail:
        value["detail"] = printable(detail)
    value["fix"] = advice(code, host, port)
    return msgspec.json.encode(value) + b"\n"


def _rule_text(rule: RuleRef) -> str:
    preset = f" (preset {printable(rule.via)})" if rule.via else ""
    return f"{msgspec.json.encode(rule.text).decode()}{preset} in the {printable(rule.layer)} layer"


def _entry(host: str, port: int) -> str:
    """The rule text that would allow exactly this."""
    entry = f"[{host}]" if ":" in host and port not in (0, 80, 443) else host
    return printable(entry if port in (0, 80, 443) else f"{entry}:{port}")


def _spell(host: str, port: int) -> str:
    if not host:
        return ""
    shown = f"[{host}]" if ":" in host else host
    return printable(f"{shown}:{port}" if port else shown)


def _phrase(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return "Error"
