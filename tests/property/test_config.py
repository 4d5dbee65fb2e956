"""Any tables, any bytes, any rules: checking and loading never raise, and an error always means that nothing is usable."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kap.cli.render import render
from kap.cli.reports import json_report, sarif_report
from kap.config.check import check
from kap.config.keys import tables
from kap.config.layers import load
from kap.config.schema import schema
from kap.document.toml import parse

KEYS = sorted({key for names in tables(schema()).values() for key in names})
_KEY = st.sampled_from([*KEYS, "alow", "x", "", "Presets", "é", "ssh-agent"])
_TEXT = st.sampled_from(
    [
        "",
        "*",
        "github.com",
        "*.example.com",
        "*hub.com",
        "10.0.0.0/8",
        "[::1]:53",
        "0.0.0.0:1",
        "python",
        "pyton:wide",
        "$(id)",
        "${A}",
        "\x00",
    ]
) | st.text(max_size=8)
_LEAF = _TEXT | st.booleans() | st.integers() | st.floats() | st.sampled_from([0, -1, 10**30, 5.0])
VALUES = st.recursive(
    _LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEY, inner, max_size=4), max_leaves=12
)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_string(key)} = {_toml(child)}" for key, child in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, int) else repr(value).replace("e+", "e")


def _string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _guided(node: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Tables of the right names and mostly the right kinds, so that the lints are reached."""
    if "$ref" in node:
        node = {**schema()["$defs"][node["$ref"].rpartition("/")[2]], **{k: v for k, v in node.items() if k != "$ref"}}
    if "properties" in node:
        return st.fixed_dictionaries({}, optional={key: _guided(child) for key, child in node["properties"].items()})
    kinds: dict[str, st.SearchStrategy[Any]] = {
        "string": _TEXT,
        "boolean": st.booleans(),
        "integer": st.integers(-1, 10_000),
        "number": st.floats(-1, 10_000),
        "object": st.dictionaries(st.sampled_from(["TOKEN", "A", "b-c"]), _TEXT, max_size=2),
    }
    if node.get("type") == "array":
        return st.lists(_guided(node["items"]), max_size=3)
    return kinds.get(node.get("type", ""), _TEXT)


@given(st.dictionaries(_KEY, VALUES, max_size=4) | _guided(schema()), st.sampled_from(["project", "global"]))
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_any_tables_are_checked(value: dict[str, Any], layer: str) -> None:
    text = "\n".join(f"{_string(key)} = {_toml(child)}" for key, child in value.items())
    document = parse(text)
    result = check(document, layer, "kap.toml")
    assert (result.file is None) == any(one.severity == "error" for one in result.problems)
    for problem in result.problems:
        assert problem.message and problem.code.startswith("config.")
        shown = render(problem, document)
        assert not [one for one in shown if ord(one) < 32 and one != "\n"]
    json.dumps([json_report(result.problems, {layer: document}), sarif_report(result.problems, {layer: document})])


@given(
    st.binary(max_size=60)
    | st.lists(st.sampled_from([b"a", b"=", b"1", b"\n", b"[", b"]", b"'", b"\xff", b"\xc3\xa9"])).map(b"".join)
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_loaded_or_refused(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "kap.toml"
    file.write_bytes(data)
    loaded = load(file, global_path=None)
    assert (loaded.config is None) == any(one.severity == "error" for one in loaded.problems)


@given(st.lists(st.tuples(st.sampled_from(["allow", "deny", "private", "ech", "x"]), st.text(max_size=12)), max_size=4))
def test_any_grants_are_taken_or_refused(grants: list[tuple[str, str]]) -> None:
    loaded = load(None, global_path=None, run=grants)
    assert (loaded.config is None) == bool(loaded.problems)
    if loaded.config is not None:
        assert [(rule.effect, rule.text) for rule in loaded.config.rules if rule.layer == "run"] == grants
