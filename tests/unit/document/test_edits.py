"""Edits: what a person wrote stays, what was asked for is there, and nothing else."""

from __future__ import annotations

import tomllib

import pytest

from kap.document.edit import Edit
from kap.document.edits import apply
from kap.document.route import Route
from kap.errors import KapError

ALLOW: Route = ("proxy", "network", "allow")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        # one line
        ("[proxy.network]\nallow = []\n", '[proxy.network]\nallow = ["new"]\n'),
        ('[proxy.network]\nallow = ["a"]\n', '[proxy.network]\nallow = ["a", "new"]\n'),
        ('[proxy.network]\nallow = ["a",] # why\n', '[proxy.network]\nallow = ["a", "new",] # why\n'),
        # several lines, with and without a last comma, with comments
        ('[proxy.network]\nallow = [\n  "a",\n]\n', '[proxy.network]\nallow = [\n  "a",\n  "new",\n]\n'),
        ('[proxy.network]\nallow = [\n\t"a"\n]\n', '[proxy.network]\nallow = [\n\t"a",\n\t"new"\n]\n'),
        (
            '[proxy.network]\nallow = [\n  "a", # one\n  # two\n]\n',
            '[proxy.network]\nallow = [\n  "a", # one\n  "new",\n  # two\n]\n',
        ),
        ('[proxy.network]\nallow = [\n  "a" # one\n]\n', '[proxy.network]\nallow = [\n  "a", # one\n  "new"\n]\n'),
        ('[proxy.network]\nallow = [\n  "a",\n  "b"]\n', '[proxy.network]\nallow = [\n  "a",\n  "b",\n  "new"]\n'),
        (
            "[proxy.network]\nallow = [\n  # none so far\n]\n",
            '[proxy.network]\nallow = [\n  # none so far\n  "new",\n]\n',
        ),
        # CRLF
        (
            '[proxy.network]\r\nallow = [\r\n  "a",\r\n]\r\n',
            '[proxy.network]\r\nallow = [\r\n  "a",\r\n  "new",\r\n]\r\n',
        ),
        # not ASCII
        ('# żółć 🙂\n[proxy.network]\nallow = ["ü"] # é\n', '# żółć 🙂\n[proxy.network]\nallow = ["ü", "new"] # é\n'),
        # the array is missing
        ("", '[proxy.network]\nallow = ["new"]\n'),
        ("# only a comment", '# only a comment\n\n[proxy.network]\nallow = ["new"]\n'),
        ("[proxy.network]\ndeny = []\n\n[run]\n", '[proxy.network]\ndeny = []\nallow = ["new"]\n\n[run]\n'),
        ("[proxy.network]\n\n[run]\n", '[proxy.network]\nallow = ["new"]\n\n[run]\n'),
        ("[proxy.network] # h", '[proxy.network] # h\nallow = ["new"]\n'),
        ("[proxy]\nnetwork = { deny = [] }\n", '[proxy]\nnetwork = { deny = [], allow = ["new"] }\n'),
        ("[proxy]\nnetwork = {}\n", '[proxy]\nnetwork = { allow = ["new"] }\n'),
        ("proxy.network.deny = []\n", 'proxy.network.deny = []\nproxy.network.allow = ["new"]\n'),
        ("[proxy]\nnetwork.deny = []\n[run]\n", '[proxy]\nnetwork.deny = []\nnetwork.allow = ["new"]\n[run]\n'),
        ('[proxy]\nlisten = "0.0.0.0:1"\n', '[proxy]\nlisten = "0.0.0.0:1"\n\n[proxy.network]\nallow = ["new"]\n'),
    ],
)
def test_append(before: str, after: str) -> None:
    assert apply(before, [Edit("append", ALLOW, "new")]) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", 'presets = ["new"]\n'),
        ("ssh_agent = true\n[run]\n", 'ssh_agent = true\npresets = ["new"]\n[run]\n'),
        ("# top\n\n# about run\n[run]\n", '# top\n\npresets = ["new"]\n\n# about run\n[run]\n'),
        ("[run]\nenv = []", 'presets = ["new"]\n\n[run]\nenv = []'),
        ("presets = [ 'a' ]", "presets = [ 'a', \"new\" ]"),
    ],
)
def test_append_at_the_top(before: str, after: str) -> None:
    assert apply(before, [Edit("append", ("presets",), "new")]) == after


@pytest.mark.parametrize(
    ("before", "route", "after"),
    [
        ('a = ["x", "y", "z"]', ("a", 0), 'a = ["y", "z"]'),
        ('a = ["x", "y", "z"]', ("a", 1), 'a = ["x", "z"]'),
        ('a = ["x", "y", "z"]', ("a", 2), 'a = ["x", "y"]'),
        ('a = ["x"]', ("a", 0), "a = []"),
        ('a = [\n  "x", # gone\n  "y",\n]\n', ("a", 0), 'a = [\n  "y",\n]\n'),
        ('a = [\n  "x",\n  # stays\n  "y"\n]\n', ("a", 1), 'a = [\n  "x",\n  # stays\n]\n'),
        ("a = 1 # gone\nb = 2\n", ("a",), "b = 2\n"),
        ("t = { a = 1, b = 2 }", ("t", "a"), "t = { b = 2 }"),
        ("t = { a = 1, b = 2 }", ("t", "b"), "t = { a = 1 }"),
        ("[a]\nx = 1\n\n[b]\ny = 2\n", ("a",), "[b]\ny = 2\n"),
        ("[[a]]\nx = 1\n[[a]]\nx = 2\n", ("a", 0), "[[a]]\nx = 2\n"),
    ],
)
def test_remove(before: str, route: Route, after: str) -> None:
    assert apply(before, [Edit("remove", route)]) == after


def test_replace_and_rename_keep_what_stands_around() -> None:
    text = 'ssh_agent="true" # x\n[proxy.netwrok]\nallow = ["*hub.com", "é"]\n'
    edits = [
        Edit("replace", ("ssh_agent",), True),
        Edit("rename", ("proxy", "netwrok"), "network"),
        Edit("replace", ("proxy", "network", "allow", 0), "*.hub.com"),
    ]
    assert apply(text, edits) == 'ssh_agent=true # x\n[proxy.network]\nallow = ["*.hub.com", "é"]\n'


def test_what_is_written_is_quoted() -> None:
    text = apply("", [Edit("append", ("presets",), 'a"b\\c\n\x7f é')])
    assert tomllib.loads(text) == {"presets": ['a"b\\c\n\x7f é']}
    assert tomllib.loads(apply("a = 1\n", [Edit("rename", ("a",), "b c")])) == {"b c": 1}


@pytest.mark.parametrize(
    ("text", "edit"),
    [
        ("a = [", Edit("append", ("a",), "x")),
        ("a = 1\n", Edit("append", ("a",), "x")),
        ("a = 1\n", Edit("remove", ("b",))),
        ("a = 1\nb = 2\n", Edit("rename", ("a",), "b")),
        ("a = [1]\n", Edit("replace", ("a", 1), "x")),
        ("a = [1]\n", Edit("replace", ("a", "x"), "x")),
        ("a = 1\n", Edit("append", ("a", "b"), "x")),
        ("a = 1\n", Edit("remove", ())),
        ("[proxy]\nnetwork = 1\n", Edit("append", ALLOW, "x")),
        # the name of a table given in two headings cannot be changed by one splice
        ("[a.b]\n[a.c]\n", Edit("rename", ("a",), "z")),
    ],
)
def test_what_cannot_be_done_is_said_and_changes_nothing(text: str, edit: Edit) -> None:
    with pytest.raises(KapError) as caught:
        apply(text, [edit])
    assert caught.value.hint
