"""Any text at all: `parse` never raises, agrees with tomllib, places are where the values are, edits do exactly what they say."""

from __future__ import annotations

import copy
import tomllib
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kap.document.edit import Edit
from kap.document.edits import apply, same
from kap.document.toml import parse
from kap.errors import KapError

_CHARACTERS = st.characters(codec="utf-8")
_NAME = st.text(alphabet="abc-_1", min_size=1, max_size=3) | st.sampled_from(["", "a b", "é", 'q"', "d.ot", "\t"])
_VALUE = st.recursive(
    st.text(_CHARACTERS, max_size=6) | st.integers(-99, 99) | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAME, inner, max_size=3),
    max_leaves=8,
)
_FRAGMENTS = st.sampled_from(
    [
        "a",
        "b.c",
        "=",
        " ",
        "\n",
        "\r\n",
        '"',
        "'",
        '"""',
        "[",
        "]",
        "[[",
        "]]",
        "{",
        "}",
        ",",
        "#",
        "1",
        "true",
        "é",
        "\\",
        "\0",
        "\t",
        "\ufeff",
    ]
)
SOUP = st.lists(_FRAGMENTS, max_size=40).map("".join) | st.text(max_size=60)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return '"' + "".join(c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08X}" for c in value) + '"'
    if isinstance(value, list):
        return "[ " + " , ".join(map(_toml, value)) + " ]"
    return "{ " + ", ".join(f"{_toml(key)} = {_toml(child)}" for key, child in value.items()) + " }"


def _document(value: dict[str, Any]) -> str:
    plain = [f"{_toml(key)} = {_toml(child)} # é" for key, child in value.items() if not isinstance(child, dict)]
    tables = [
        f"[{_toml(key)}]\n{_document(child)}"
        for key, child in value.items()
        if isinstance(child, dict) and _flat(child)
    ]
    inline = [
        f"{_toml(key)} = {_toml(child)}" for key, child in value.items() if isinstance(child, dict) and not _flat(child)
    ]
    return "\n".join(plain + inline + tables) + "\n"


def _flat(value: dict[str, Any]) -> bool:
    return not any(isinstance(child, dict) for child in value.values())


@given(SOUP)
def test_any_text_is_parsed_or_refused_with_a_place(text: str) -> None:
    document = parse(text)
    try:
        expected = tomllib.loads(text.removeprefix("\ufeff"))
    except ValueError:
        expected = None
    assert (document.value is None) == (expected is None)
    for error in document.syntax_errors:
        assert 0 <= error.span.start <= error.span.end <= len(text)
    for route in document.places():
        document.span(route)
        document.span(route, key=True)


@given(st.text(st.characters(), max_size=20))
def test_even_lone_surrogates_are_only_refused(text: str) -> None:
    document = parse(text)
    if any("\ud800" <= one <= "\udfff" for one in text):
        assert document.value is None
    document.places()


@given(st.dictionaries(_NAME, _VALUE, max_size=4))
def test_every_value_has_a_place_that_reads_back_as_it(value: dict[str, Any]) -> None:
    document = parse(_document(value))
    assert document.value == value
    for route in document.routes():
        span = document.span(route)
        assert span is not None
        found = document.at(route)
        if not isinstance(found, dict):
            assert tomllib.loads("k = " + document.text[span.start : span.end])["k"] == found
        line = document.text.split("\n")[span.line]
        assert line[span.column :].startswith(document.text[span.start : span.end].split("\n")[0])


@given(st.dictionaries(_NAME, _VALUE, max_size=4), st.data())
@settings(max_examples=200)
def test_an_edit_changes_what_it_says_or_nothing(value: dict[str, Any], data: st.DataObject) -> None:
    text = _document(value)
    routes = [*parse(text).routes(), ("new",), ("new", "table", "array")]
    route = data.draw(st.sampled_from(routes))
    op = data.draw(st.sampled_from(["append", "replace", "remove", "rename"]))
    edit = Edit(op, route, data.draw(st.text(_CHARACTERS, max_size=5)))
    try:
        edited = apply(text, [edit])
    except KapError as error:
        assert error.hint
        return
    result = tomllib.loads(edited)
    expected = copy.deepcopy(value)
    node: Any = expected
    for step in route[:-1]:
        node = node.setdefault(step, {}) if isinstance(node, dict) and op == "append" else node[step]
    last = route[-1]
    if op == "append":
        if isinstance(node, dict):
            node.setdefault(last, [])
        node[last].append(edit.value)
    elif op == "replace":
        node[last] = edit.value
    elif op == "remove":
        del node[last]
    else:
        node[edit.value] = node.pop(last)
    assert same(result, expected)
    if op == "append":
        assert edited.count("# é") >= text.count("# é")


@given(SOUP, st.text(max_size=5))
def test_edits_of_any_text_raise_nothing_but_a_kap_error(text: str, value: str) -> None:
    try:
        edited = apply(text, [Edit("append", ("proxy", "network", "allow"), value)])
    except KapError:
        return
    assert tomllib.loads(edited.removeprefix("\ufeff"))["proxy"]["network"]["allow"][-1] == value


_SPACE = st.lists(st.sampled_from(["", " ", "\n  ", " # c, ]\n", "\r\n\t", "\n"]), max_size=3).map("".join)


@st.composite
def _array(draw: st.DrawFn) -> tuple[str, int]:
    """A TOML array in any layout, with comments, and the number of its items."""
    count = draw(st.integers(0, 4))
    text = "["
    for item in range(count):
        last = item == count - 1
        comma = "," if not last or draw(st.booleans()) else ""
        text += draw(_SPACE) + f"'{item},]'" + draw(_SPACE) + comma
    return text + draw(_SPACE) + "]", count


@given(_array(), st.sampled_from(["", "deny = []\n", "# end"]), st.data())
def test_arrays_of_any_layout_take_and_lose_items_and_keep_every_comment(
    array: tuple[str, int], tail: str, data: st.DataObject
) -> None:
    written, count = array
    text = f"[proxy.network] # h\nallow = {written} # end\n{tail}"
    route = ("proxy", "network", "allow")
    items = [f"{item},]" for item in range(count)]
    added = apply(text, [Edit("append", route, "new")])
    assert tomllib.loads(added)["proxy"]["network"]["allow"] == [*items, "new"]
    assert added.count("# c, ]") == text.count("# c, ]")
    assert added.count("# end") == text.count("# end")
    for index in range(count):
        left = apply(text, [Edit("remove", (*route, index))])
        assert tomllib.loads(left)["proxy"]["network"]["allow"] == items[:index] + items[index + 1 :]
    edits = [Edit("append", route, "new"), Edit("remove", (*route, count))]
    assert tomllib.loads(apply(text, edits)) == tomllib.loads(text)
