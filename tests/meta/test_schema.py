"""The schema is the one source of the shape of kap.toml: the model, the reference page and the examples follow it."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin

import jsonschema
import msgspec

from kap.config import schema
from kap.config.check import check
from kap.config.model import File
from kap.document.toml import parse

REPO = Path(__file__).resolve().parents[2]


def struct_of(kind: Any) -> type[msgspec.Struct] | None:
    """The model struct a field's type holds: itself, in a tuple, or optional."""
    for one in (kind, *get_args(kind)):
        if isinstance(one, type) and issubclass(one, msgspec.Struct):
            return one
    return None


def json_type(kind: Any) -> str:
    origin = get_origin(kind)
    if origin is tuple:
        return "array"
    if origin is dict or struct_of(kind):
        return "object"
    return {str: "string", bool: "boolean", int: "integer", float: "number"}.get(kind, "string")


def plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [plain(one) for one in value]
    return value


def compare(node: dict[str, Any], struct: type[msgspec.Struct], where: str) -> list[str]:
    """Every difference between a schema object and a struct."""
    node = schema.resolve(node)
    fields = {field.name: field for field in msgspec.structs.fields(struct) if field.name != "layer"}
    wrong = [] if set(fields) == set(node["properties"]) else [f"{where}: {set(fields) ^ set(node['properties'])}"]
    if node.get("additionalProperties", True) is not False:
        wrong.append(f"{where}: unknown keys are let through")
    for name, field in fields.items():
        child = schema.resolve(node["properties"].get(name, {}))
        place, inner = f"{where}.{name}", struct_of(field.type)
        if field.required != (name in node.get("required", [])):
            wrong.append(f"{place}: required in one of the two")
        if inner is not None:
            items = child["items"] if json_type(field.type) == "array" else child
            wrong += compare(items, inner, place)
        elif "default" in child and not field.required:
            default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
            if plain(default) != child["default"]:
                wrong.append(f"{place}: default {default!r}, schema {child['default']!r}")
        elif not field.required:
            wrong.append(f"{place}: no default in the schema")
        if "enum" in child and set(child["enum"]) != set(get_args(field.type)):
            wrong.append(f"{place}: other values")
        if "type" in child and NoneType not in get_args(field.type) and child["type"] != json_type(field.type):
            wrong.append(f"{place}: {field.type} is no {child['type']}")
        if not child.get("description"):
            wrong.append(f"{place}: no description")
    return wrong


def test_model_and_schema_agree() -> None:
    assert compare(schema.schema(), File, "kap.toml") == []


def test_the_schema_is_a_schema_and_the_published_file() -> None:
    jsonschema.Draft202012Validator.check_schema(schema.schema())
    assert schema.text() == (REPO / "schemas" / "kap.schema.json").read_text()


def keys(node: dict[str, Any], heading: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], dict[str, Any]]]:
    """Every key of the schema with its route (arrays of tables by name) and its resolved node."""
    found = []
    for name, child in schema.resolve(node).get("properties", {}).items():
        inner = schema.resolve(child)
        found.append(((*heading, name), inner))
        found += keys(inner["items"] if inner.get("type") == "array" else inner, (*heading, name))
    return found


def test_examples_are_valid_for_their_key() -> None:
    for route, node in keys(schema.schema()):
        for example in node.get("examples", []):
            whole = {**node, "$defs": schema.schema()["$defs"]}
            errors = [error.message for error in jsonschema.Draft202012Validator(whole).iter_errors(example)]
            assert errors == [], route


def test_defaults_are_valid_and_written_out_they_change_nothing() -> None:
    lines: dict[tuple[str, ...], list[str]] = {}
    for route, node in keys(schema.schema()):
        if route[0] in ("mcp", "cli", "compose", "trust") or node.get("type") == "object" or "default" not in node:
            continue
        value = msgspec.json.encode(node["default"]).decode()
        lines.setdefault(route[:-1], []).append(f"{route[-1]} = {value}")
    text = "\n".join(lines.pop(())) + "\n"
    text += "\n".join(f"[{'.'.join(heading)}]\n" + "\n".join(body) for heading, body in lines.items())
    result = check(parse(text))
    assert [one.code for one in result.problems if one.severity == "error"] == []
    assert result.file == msgspec.convert({}, File)
    assert tomllib.loads(text)["proxy"]["limits"]["connections"] == 4096


def test_the_reference_page_is_generated() -> None:
    script = REPO / "scripts" / "reference.py"
    out = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, timeout=60, check=False)
    assert out.returncode == 0, out.stdout + out.stderr
