"""Problems for programs: kap's own JSON (versioned: fields are added, never renamed) and SARIF 2.1.0 (OASIS)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from kap import __version__
from kap.cli.render import place, shown_path
from kap.config.problem import Problem
from kap.document.toml import Document

_LEVELS = {"error": "error", "warning": "warning", "information": "note"}


def json_report(problems: Sequence[Problem], documents: Mapping[str, Document]) -> dict[str, Any]:
    """Lines and columns are 1-based and count characters; all four are 0 where a problem has no place in the text."""
    return {
        "version": 1,
        "errors": sum(one.severity == "error" for one in problems),
        "warnings": sum(one.severity == "warning" for one in problems),
        "problems": [_problem(one, documents.get(one.layer)) for one in problems],
    }


def _problem(problem: Problem, document: Document | None) -> dict[str, Any]:
    span = place(problem, document)
    return {
        "code": problem.code,
        "severity": problem.severity,
        "message": problem.message,
        "hint": problem.hint,
        "path": shown_path(problem.path),
        "layer": problem.layer,
        "route": list(problem.route),
        "line": span.line + 1 if span else 0,
        "column": span.column + 1 if span else 0,
        "end_line": span.end_line + 1 if span else 0,
        "end_column": span.end_column + 1 if span else 0,
        "docs": f"docs/codes/{problem.code}.md",
        "fixes": [
            {
                "title": fix.title,
                "widens": fix.widens,
                "edits": [{"op": edit.op, "route": list(edit.route), "value": edit.value} for edit in fix.edits],
            }
            for fix in problem.fixes
        ],
    }


def sarif_report(problems: Sequence[Problem], documents: Mapping[str, Document]) -> dict[str, Any]:
    """One run; columns count code points, as SARIF's ``columnKind`` says."""
    codes = sorted({one.code for one in problems})
    return {
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "kap",
                        "semanticVersion": __version__,
                        "rules": [{"id": code, "name": _pascal(code)} for code in codes],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "results": [_result(one, documents.get(one.layer), codes) for one in problems],
            }
        ],
    }


def _pascal(code: str) -> str:
    return "".join(part.capitalize() for part in code.replace(".", "-").split("-"))


def _result(problem: Problem, document: Document | None, codes: list[str]) -> dict[str, Any]:
    span = place(problem, document)
    location: dict[str, Any] = {"artifactLocation": {"uri": quote(shown_path(problem.path))}}
    if span is not None:
        location["region"] = {
            "startLine": span.line + 1,
            "startColumn": span.column + 1,
            "endLine": span.end_line + 1,
            "endColumn": span.end_column + 1,
        }
    text = problem.message + (f"; {problem.hint}" if problem.hint else "")
    return {
        "ruleId": problem.code,
        "ruleIndex": codes.index(problem.code),
        "level": _LEVELS[problem.severity],
        "message": {"text": text},
        "locations": [{"physicalLocation": location}],
    }
