"""Edits of JSON with comments: whatever the file looks like, the value is the one that was meant and nothing else moved."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from kap.devcontainer import edit_jsonc, wire
from kap.devcontainer.jsonc_tree import BadJson, parse
from kap.errors import KapError

COMMENTS = st.sampled_from(
    ["", "", "", " ", "/* b */", " /* two\nlines */ ", '// to the end, {}[]"\n', "\n", "\t", "\r\n", "\n\n  "]
)
KEYS = st.one_of(
    st.sampled_from(
        ["image", "name", "features", "runArgs", "initializeCommand", "mounts", "build", "kap", "ключ", 'a"b', "\\"]
    ),
    st.text(max_size=5),
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 10**12),
    st.text(max_size=8),
    st.sampled_from(["// no", "/*", ",}", "é😀"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=12,
)

OBJECTS = st.dictionaries(KEYS, VALUES, max_size=5)


@st.composite
def written(draw: st.DrawFn, values: st.SearchStrategy[Any] = OBJECTS) -> tuple[str, Any]:
    """A value, and one of the many ways to write it."""
    value = draw(values)
    newline = draw(st.sampled_from(["\n", "\r\n"]))
    body = write(draw, value)
    text = draw(COMMENTS) + body + draw(COMMENTS)
    text = text.replace("\r\n", "\n").replace("\n", newline)
    return draw(st.sampled_from(["", "", "\ufeff"])) + text, value


def write(draw: st.DrawFn, value: Any) -> str:
    def gap() -> str:
        return draw(COMMENTS)

    if isinstance(value, dict):
        members = [
            json.dumps(k, ensure_ascii=draw(st.booleans())) + gap() + ":" + gap() + write(draw, v)
            for k, v in value.items()
        ]
    elif isinstance(value, list):
        members = [write(draw, v) for v in value]
    else:
        return json.dumps(value, ensure_ascii=draw(st.booleans()))
    trailing = "," + gap() if members and draw(st.booleans()) else ""
    inside = ",".join(gap() + m + gap() for m in members) + trailing
    return ("{%s}" if isinstance(value, dict) else "[%s]") % (inside or gap())


@given(written())
def test_what_is_written_is_what_is_read(case: tuple[str, Any]) -> None:
    text, value = case
    assert parse(text).value == value


@given(written(), KEYS, VALUES, st.lists(KEYS, max_size=2))
def test_putting_a_key_changes_that_key_only(case: tuple[str, Any], key: str, new: Any, after: list[str]) -> None:
    text, value = case
    result = edit_jsonc.put(text, (key,), new, after=after)
    assert parse(result).value == {**value, key: new}
    assert is_subsequence(outside(text, key), result)


@given(written(), KEYS, VALUES)
def test_taking_an_added_key_out_again_gives_the_value_back(case: tuple[str, Any], key: str, new: Any) -> None:
    text, value = case
    if key in value:
        return
    result = edit_jsonc.remove(edit_jsonc.put(text, (key,), new), (key,))
    assert parse(result).value == value
    assert "".join(result.split()) == "".join(text.split())


@given(written())
def test_any_member_can_be_removed_and_no_comment_outside_it_goes(case: tuple[str, Any]) -> None:
    text, value = case
    for key in value:
        result = edit_jsonc.remove(text, (key,))
        assert parse(result).value == {k: v for k, v in value.items() if k != key}
        assert is_subsequence(result, text)


LISTS = st.fixed_dictionaries({"runArgs": st.lists(SCALARS, max_size=4)})


@given(written(LISTS), st.lists(st.text(max_size=4), max_size=3), st.one_of(st.none(), st.integers(0, 5)))
def test_adding_to_a_list(case: tuple[str, Any], new: list[str], at: int | None) -> None:
    text, value = case
    result = edit_jsonc.add(text, ("runArgs",), new, at=at)
    old = value["runArgs"]
    at = len(old) if at is None else at
    assert parse(result).value["runArgs"] == [*old[:at], *new, *old[at:]]
    assert is_subsequence(text, result)


@given(st.text(max_size=60))
@example('{"a": "\n"}')
@example("{" * 500)
@example("/*")
@example('{"a":1}}')
@example('{"a" 1}')
@example('{"a": 01}')
@example('{"a": "\\u12"}')
def test_any_text_is_read_or_refused_with_its_place(text: str) -> None:
    try:
        parse(text)
    except BadJson as error:
        lines = text.splitlines() or [""]
        assert 1 <= error.line <= len(lines) + 1
        assert error.column >= 1


COMMANDS = st.one_of(
    st.text(max_size=8),
    st.lists(st.text(max_size=5), max_size=3),
    st.dictionaries(KEYS, st.text(min_size=1, max_size=5), max_size=3),
)
FILES = st.fixed_dictionaries(
    {"image": st.just("debian:12")},
    optional={
        "initializeCommand": COMMANDS,
        "runArgs": st.lists(st.text(max_size=6), max_size=3),
        "features": st.dictionaries(st.sampled_from(["ghcr.io/example/x:1", "./local"]), st.just({}), max_size=2),
        "name": st.text(max_size=5),
    },
)


@given(written(FILES))
def test_kap_goes_into_any_devcontainer_json_once_and_comes_out_again(case: tuple[str, Any]) -> None:
    text, value = case
    arguments = ["--label=kap.project=x", "--network=kap-x", "--env=KAP_SIDECAR=10.213.0.2:3128"]
    once = wire.single(text, arguments, wire.command(), wire.FEATURE)
    assert wire.is_wired(parse(once).value)
    assert wire.single(once, arguments, wire.command(), wire.FEATURE) == once
    assert is_subsequence(text.replace("\ufeff", ""), once) or value.get("initializeCommand") in ("", [], {})
    out = parse(wire.unwire(once, "kap.overlay.yml", value)).value
    expected = dict(value)
    if value.get("initializeCommand") in ("", [], {}):
        expected.pop("initializeCommand")
    assert out == expected


@given(
    written(
        st.fixed_dictionaries(
            {
                "dockerComposeFile": st.one_of(
                    st.just("c.yml"),
                    st.lists(st.sampled_from(["c.yml", "d.yml", "kap.overlay.yml"]), min_size=1, max_size=3),
                ),
                "service": st.just("app"),
            }
        )
    )
)
def test_the_overlay_is_the_last_compose_file_once(case: tuple[str, Any]) -> None:
    text, value = case
    once = wire.compose(text, "kap.overlay.yml", wire.command("a/devcontainer.json"), "./kap")
    listed = parse(once).value["dockerComposeFile"]
    before = [value["dockerComposeFile"]] if isinstance(value["dockerComposeFile"], str) else value["dockerComposeFile"]
    if before[-1] == "kap.overlay.yml":
        assert listed == before
    else:
        assert listed == [*(n for n in before if n != "kap.overlay.yml"), "kap.overlay.yml"]
    assert wire.compose(once, "kap.overlay.yml", wire.command("a/devcontainer.json"), "./kap") == once


def outside(text: str, key: str) -> str:
    """`text` without the value of `key`."""
    member = parse(text).member(key)
    return text if member is None else text[: member.node.start] + text[member.node.end :]


def is_subsequence(part: str, whole: str) -> bool:
    rest = iter(whole)
    return all(char in rest for char in part)


def test_a_change_that_cannot_be_made_is_refused() -> None:
    for text in ('{"features": []}', '{"runArgs": {}}'):
        try:
            wire.single('{"image": "x", ' + text[1:], ["--label=kap.project=x"], wire.command(), "./kap")
        except KapError as error:
            assert error.hint
        else:
            raise AssertionError(text)
