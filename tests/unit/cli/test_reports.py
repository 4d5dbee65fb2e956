"""Reports for programs: kap's JSON, and SARIF as OASIS has it."""

from __future__ import annotations

import json
from typing import Any

from kap.cli.reports import json_report, sarif_report
from kap.config.check import check
from kap.config.problem import Problem
from kap.document.toml import parse

DOCUMENT = parse('presets = ["é", "pythn"]\n[proxy.network]\nalow = []\n')
PROBLEMS = check(DOCUMENT, path="my project/kap.toml").problems
DOCUMENTS = {"project": DOCUMENT}


def test_json_counts_and_places() -> None:
    report = json_report(PROBLEMS, DOCUMENTS)
    assert (report["version"], report["errors"], report["warnings"]) == (1, 3, 0)
    unknown = next(one for one in report["problems"] if one["code"] == "config.unknown-key")
    assert (unknown["line"], unknown["column"], unknown["end_line"], unknown["end_column"]) == (3, 1, 3, 5)
    assert unknown["route"] == ["proxy", "network", "alow"]
    assert unknown["fixes"] == [
        {
            "title": "rename it to allow",
            "widens": False,
            "edits": [{"op": "rename", "route": ["proxy", "network", "alow"], "value": "allow"}],
        }
    ]
    preset = next(one for one in report["problems"] if one["route"] == ["presets", 1])
    assert (preset["column"], preset["end_column"]) == (17, 24), "columns count characters, not bytes"


def test_sarif_has_what_the_standard_requires() -> None:
    report: dict[str, Any] = json.loads(json.dumps(sarif_report(PROBLEMS, DOCUMENTS)))
    assert report["version"] == "2.1.0"
    (run,) = report["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert run["tool"]["driver"]["name"] == "kap"
    assert run["columnKind"] == "unicodeCodePoints"
    assert len({rule["id"] for rule in rules}) == len(rules)
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in ("none", "note", "warning", "error")
        assert result["message"]["text"]
        place = result["locations"][0]["physicalLocation"]
        assert place["artifactLocation"]["uri"] == "my%20project/kap.toml"
        region = place["region"]
        assert min(region.values()) >= 1
        assert (region["endLine"], region["endColumn"]) >= (region["startLine"], region["startColumn"])


def test_a_problem_without_a_place_has_no_region() -> None:
    problem = Problem("config.missing", "there is no such file", path="kap.toml")
    (result,) = sarif_report([problem], {})["runs"][0]["results"]
    assert result["locations"] == [{"physicalLocation": {"artifactLocation": {"uri": "kap.toml"}}}]
    assert json_report([problem], {})["problems"][0]["line"] == 0


def test_nothing_wrong_is_a_report_too() -> None:
    assert json_report([], {})["problems"] == []
    assert sarif_report([], {})["runs"][0]["results"] == []
