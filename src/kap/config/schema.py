"""``schemas/kap.schema.json``, the one source of the shape of kap.toml: found, read, and turned into Problems with routes.

Messages are written here, in TOML's words; jsonschema only finds where the shape is broken.
"""

from __future__ import annotations

import importlib.resources
import json
import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from kap.config.keys import unknown_key
from kap.config.problem import Edit, Fix, Problem
from kap.document.route import Route

NAME = "kap.schema.json"


@cache
def text() -> str:
    """The schema as published. A wheel carries it as package data, an editable install has it in the checkout."""
    packaged = importlib.resources.files("kap") / "_schemas" / NAME
    if packaged.is_file():
        return packaged.read_text("utf-8")
    return (Path(__file__).resolve().parents[3] / "schemas" / NAME).read_text("utf-8")


@cache
def schema() -> dict[str, Any]:
    """The schema as data."""
    loaded: dict[str, Any] = json.loads(text())
    return loaded


def resolve(node: dict[str, Any]) -> dict[str, Any]:
    """A node of the schema with its ``$ref`` followed; keys beside the ``$ref`` win."""
    if "$ref" not in node:
        return node
    target: dict[str, Any] = schema()["$defs"][node["$ref"].rpartition("/")[2]]
    return {**target, **{key: value for key, value in node.items() if key != "$ref"}}


@cache
def _validator() -> Any:
    from jsonschema import Draft202012Validator, validators

    kinds = Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer)
    extend: Any = validators.extend  # untyped in jsonschema
    return extend(Draft202012Validator, type_checker=kinds)(schema())


def _is_integer(_: Any, value: Any) -> bool:
    """In TOML ``5.0`` is no integer, as it is in JSON Schema."""
    return isinstance(value, int) and not isinstance(value, bool)


def validate(value: dict[str, Any]) -> Iterator[Problem]:
    """Every place where a parsed kap.toml departs from the schema, in the order of the file as far as jsonschema keeps it."""
    for error in _validator().iter_errors(value):
        route: Route = tuple(error.absolute_path)
        if error.validator == "additionalProperties":
            known = error.schema["properties"]
            for key in error.instance:
                if key not in known:
                    yield unknown_key(schema(), (*route, key), tuple(known), error.instance)
        elif "propertyNames" in error.absolute_schema_path:
            yield _bad_name((*route, str(error.instance)), error.schema)
        elif error.validator == "required":
            for key in error.validator_value:
                if key not in error.instance:
                    yield _missing(route, key)
        else:
            yield _bad_value(route, error)
    yield from _not_numbers((), value)


def known(value: dict[str, Any], node: dict[str, Any] | None = None) -> dict[str, Any]:
    """The tables without the keys the schema does not know: what lints may read while `validate` reports the rest."""
    properties = resolve(node or schema()).get("properties")
    if properties is None:
        return value
    kept: dict[str, Any] = {}
    for key, child in value.items():
        inner = resolve(properties.get(key, {}))
        if key not in properties:
            continue
        if isinstance(child, dict):
            kept[key] = known(child, inner)
        elif isinstance(child, list) and "items" in inner:
            kept[key] = [known(one, resolve(inner["items"])) if isinstance(one, dict) else one for one in child]
        else:
            kept[key] = child
    return kept


def _bad_name(route: Route, node: dict[str, Any]) -> Problem:
    wanted = node.get("x-kap", {}).get("says", "another name")
    return Problem(
        "config.value", f"`{route[-1]}` cannot be a name here", route=route, on_key=True, hint=f"write {wanted}"
    )


def _missing(route: Route, key: str) -> Problem:
    return Problem("config.required", f"`{key}` is missing here", route=route, on_key=True, hint=f'add {key} = "..."')


_NAMES = {
    "string": "text in quotes",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "array": "a list in [brackets]",
    "object": "a table",
}


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    kinds: tuple[tuple[type, str], ...] = (
        (str, "text"),
        (int, "a whole number"),
        (float, "a number"),
        (list, "a list"),
        (dict, "a table"),
    )
    return next((name for kind, name in kinds if isinstance(value, kind)), "a date or time")


def _bad_value(route: Route, error: Any) -> Problem:
    """One broken constraint other than keys, in words; with a Fix where the cure is certain."""
    limit, value, where = error.validator_value, error.instance, error.validator
    name = _name(route)
    if where == "type":
        message = f"{name} is {_kind(value)}; it has to be {_NAMES.get(limit, limit)}"
        return Problem("config.type", message, route=route, **_type_cure(route, limit, value))
    if where == "enum":
        message = f"{name} is not one of its values"
        return Problem("config.value", message, route=route, hint="write " + " or ".join(f'"{one}"' for one in limit))
    says = error.schema.get("x-kap", {}).get("says", "")
    words = {
        "minimum": f"{name} is too small; the least is {limit}",
        "maximum": f"{name} is too large; the most is {limit}",
        "exclusiveMinimum": f"{name} has to be more than {limit}",
        "minLength": f"{name} is empty",
        "maxLength": f"{name} is too long; at most {limit} characters",
        "maxItems": f"{name} has too many entries; at most {limit}",
        "pattern": f"{name} is not what it should be",
    }
    message = words.get(str(where), f"{name} is not what the schema asks for")
    return Problem("config.value", message, route=route, hint=f"write {says}" if says else "")


def _type_cure(route: Route, wanted: str, value: Any) -> dict[str, Any]:
    if wanted == "boolean" and isinstance(value, str) and value.lower() in ("true", "false"):
        fix = Fix("take the quotes away", (Edit("replace", route, value.lower() == "true"),))
        return {"hint": f"write {value.lower()} without quotes", "fixes": (fix,)}
    if (
        wanted in ("integer", "number")
        and isinstance(value, str)
        and value.isascii()
        and value.isdigit()
        and len(value) < 10
    ):
        fix = Fix("take the quotes away", (Edit("replace", route, int(value)),))
        return {"hint": f"write {value} without quotes", "fixes": (fix,)}
    if wanted == "array" and isinstance(value, str):
        return {"hint": "put it in brackets: [...]"}
    if wanted == "object" and isinstance(value, list):
        return {"hint": f"write [{'.'.join(str(step) for step in route)}], with single brackets"}
    return {}


def _name(route: Route) -> str:
    if not route:
        return "the file"
    if isinstance(route[-1], int):
        return f"entry {route[-1] + 1} of `{next(step for step in reversed(route) if isinstance(step, str))}`"
    return f"`{route[-1]}`"


def _not_numbers(route: Route, value: Any) -> Iterator[Problem]:
    """``nan`` passes every comparison of the schema, so it is looked for by hand."""
    if isinstance(value, float) and math.isnan(value):
        yield Problem("config.value", f"{_name(route)} is not a number", route=route, hint="write a number")
    elif isinstance(value, dict):
        for key, child in value.items():
            yield from _not_numbers((*route, key), child)
