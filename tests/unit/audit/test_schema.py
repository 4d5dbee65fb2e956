"""``schemas/event.schema.json`` says what `Event` is, field by field, and every event the log writes is valid by it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import jsonschema
import msgspec
import pytest

from kap.audit.event import TEXT_LIMIT, Event, Kind
from kap.audit.log import AuditLog
from kap.policy.decision import RuleRef

SCHEMA: dict[str, Any] = json.loads((Path(__file__).parents[3] / "schemas" / "event.schema.json").read_text())
TYPES = {str: "string", int: "integer", float: "number"}


def fields() -> dict[str, msgspec.structs.FieldInfo]:
    return {field.name: field for field in msgspec.structs.fields(Event)}


def test_schema_names_exactly_the_fields() -> None:
    assert set(SCHEMA["properties"]) == set(fields())


@pytest.mark.parametrize("name", sorted(fields()))
def test_schema_has_the_type_and_default_of(name: str) -> None:
    spec, field = SCHEMA["properties"][name], fields()[name]
    assert spec["description"] or name == "rule"
    if field.type in TYPES and "enum" not in spec and "const" not in spec:
        assert spec["type"] == TYPES[field.type]
    if field.default is not msgspec.NODEFAULT and name not in {"ts", "seq"}:
        assert spec["default"] == field.default
    if spec.get("type") == "string":
        assert spec.get("maxLength", TEXT_LIMIT) == TEXT_LIMIT and ("maxLength" in spec or "pattern" in spec)


def test_schema_lists_the_kinds_and_the_rule_fields() -> None:
    assert SCHEMA["properties"]["kind"]["enum"] == list(get_args(Kind))
    assert set(SCHEMA["$defs"]["rule"]["properties"]) == {field.name for field in msgspec.structs.fields(RuleRef)}


def test_what_the_log_writes_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = AuditLog(path, capsule="web", attribute=lambda event: "curl[1]")
    rule = RuleRef("project", ("proxy", "network", "allow", 0), "*.example.com", "python")
    log.record(Event("notice", "sidecar", "sidecar.started"))
    log.record(
        Event(
            "decision", "egress", "egress.not-listed", verdict="deny", host="x\udc80" * 500, port=443, method="CONNECT"
        )
    )
    log.record(
        Event(
            "decision",
            "egress",
            "egress.allowed",
            verdict="allow",
            host="a.example.com",
            port=1,
            rule=rule,
            policy="0123456789ab",
        )
    )
    log.record(Event("closed", "egress", "egress.allowed", id=3, bytes_up=1, bytes_down=2, seconds=0.25))
    validator = jsonschema.Draft202012Validator(SCHEMA)
    validator.check_schema(SCHEMA)
    for line in path.read_bytes().splitlines():
        validator.validate(json.loads(line))
