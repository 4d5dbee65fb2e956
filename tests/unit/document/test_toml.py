"""Places by route: values, keys, items, tables, dotted keys, inline tables, arrays of tables, on broken text too."""

from __future__ import annotations

import pytest

from kap.document.route import Route
from kap.document.toml import Document, parse

TEXT = """\
# żółć
ssh_agent = true # é
proxy.listen = "0.0.0.0:3128"
[proxy.network]
allow = [ "é.example", # one
  'b.example',
]
deny = []
run = { env = ["A"], "sp ace".b = 1 }
[[mcp.servers]]
name = "one"
[[mcp.servers]]
name = "two"
[mcp.servers.headers]
X-Key = "v"
"""


def shown(document: Document, route: Route, key: bool = False) -> str | None:
    span = document.span(route, key)
    return None if span is None else document.text[span.start : span.end]


@pytest.mark.parametrize(
    ("route", "value", "key"),
    [
        (("ssh_agent",), "true", "ssh_agent"),
        (("proxy", "listen"), '"0.0.0.0:3128"', "listen"),
        (("proxy",), "proxy", "proxy"),
        (("proxy", "network"), "network", "network"),
        (("proxy", "network", "allow", 0), '"é.example"', '"é.example"'),
        (("proxy", "network", "allow", 1), "'b.example'", "'b.example'"),
        (("proxy", "network", "deny"), "[]", "deny"),
        (("proxy", "network", "run", "env", 0), '"A"', '"A"'),
        (("proxy", "network", "run", "sp ace"), '"sp ace".b = 1', '"sp ace"'),
        (("proxy", "network", "run", "sp ace", "b"), "1", "b"),
        (("mcp", "servers", 0, "name"), '"one"', "name"),
        (("mcp", "servers", 1, "name"), '"two"', "name"),
        (("mcp", "servers", 1, "headers", "X-Key"), '"v"', "X-Key"),
        (("nothing",), None, None),
        (("proxy", "network", "allow", 2), None, None),
    ],
)
def test_places(route: Route, value: str | None, key: str | None) -> None:
    document = parse(TEXT.replace("proxy.listen", "proxy.listen"))
    if route[:2] == ("proxy", "network") or route == ("proxy",):
        document = parse(TEXT.replace('proxy.listen = "0.0.0.0:3128"\n', ""))
    if route == ("proxy", "network", "run", "sp ace"):
        assert shown(document, route, key=True) == key
        return
    assert shown(document, route) == value
    assert shown(document, route, key=True) == key


def test_lines_and_columns_count_characters() -> None:
    document = parse('# żółć\r\na = "é🙂" # x\r\nb = ["ü", "w"]\r\n')
    span = document.span(("b", 1))
    assert span is not None
    assert (span.line, span.column, span.end_line, span.end_column) == (2, 10, 2, 13)
    span = document.span(("a",))
    assert span is not None
    assert (span.line, span.column, span.end_column) == (1, 4, 8)


def test_nearest_is_the_table_of_a_missing_key() -> None:
    document = parse("[proxy.network]\nallow = []\n")
    span = document.nearest(("proxy", "network", "deny", 3), key=True)
    assert span is not None
    assert document.text[span.start : span.end] == "network"
    assert document.nearest(("nothing", "here")) is None


def test_broken_text_still_has_places_for_what_is_whole() -> None:
    document = parse('a = 1\n[proxy.network]\nallow = ["x", \nb =\n')
    assert document.value is None
    assert shown(document, ("a",)) == "1"
    assert shown(document, ("proxy", "network")) == "network"


def test_a_byte_order_mark_moves_no_column() -> None:
    document = parse("\ufeffa = 1\nb = 2")
    assert document.value == {"a": 1, "b": 2}
    assert shown(document, ("a",)) == "1"
    assert shown(document, ("a",), key=True) == "a"


def test_at_gives_the_value_or_nothing() -> None:
    document = parse("a = [1, {b = 2}]")
    assert document.at(("a", 1, "b")) == 2
    assert document.at(("a", 7)) is None
    assert document.at(("a", 0, "x")) is None
    assert parse("a =").at(("a",)) is None
