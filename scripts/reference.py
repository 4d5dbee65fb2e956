"""Write docs/reference.md from schemas/kap.schema.json; with --check only say whether it is up to date (exit code 1 if not)."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from kap.config import schema

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference.md"

HEAD = """\
# kap.toml: every key

<!-- Written by scripts/reference.py from schemas/kap.schema.json; change that and run the script. -->

A policy is one file, `kap.toml`, at the top of a project or in its `.devcontainer` folder, and one for the whole machine,
`~/.kap/kap.toml` (`KAP_HOME` names another folder). Everything that is not allowed is refused.

How the two go together:

- Rules add up. A deny rule wins over an allow rule, in whichever of the files either stands.
- Other values: the project's file wins, with these exceptions. Where traffic and logs go (`[proxy]`, `[proxy.upstream]`,
  `[proxy.observe]`) what the global file sets stays. A limit the global file sets can be lowered, not raised. `trust` is read from
  the global file only.
- An MCP server or a command that stands in both files must be allowed by both; what either denies is denied.
- A file with an error is not used at all, and nothing starts without it: `kap check` says what is wrong and where.

An unknown key is an error. Times are seconds, sizes are bytes.

## Rules

| written | allows |
|---|---|
| `example.com` | that host, on ports 80 and 443; not the hosts below it |
| `*.example.com` | every host below it, at any depth; not `example.com` itself |
| `example.com:22` | that port only |
| `db.example.com:5432/tcp` | a protocol in which the server speaks first; `/tls`, `/http`, `/ssh` and `/auto` name what may be spoken |
| `192.0.2.0/24:443` | addresses written as such, in that range |
| `*` | every public host: `kap check` warns |

A deny rule without a port refuses every port.
"""


def main() -> int:
    """Write the page, or compare it."""
    text = HEAD + "".join(_table((), schema.schema()))
    if "--check" in sys.argv[1:]:
        if PAGE.is_file() and PAGE.read_text() == text:
            return 0
        print("docs/reference.md is not what scripts/reference.py writes; run it", file=sys.stderr)
        return 1
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(text)
    return 0


def _table(route: tuple[str, ...], node: dict[str, Any], array: bool = False) -> list[str]:
    """The section of one table, then those of the tables in it."""
    node = schema.resolve(node)
    name = ".".join(route)
    title = f"`[[{name}]]`" if array else f"`[{name}]`" if route else "At the top"
    parts = [f"\n## {title}\n\n" + ("" if not route else node.get("description", "") + "\n")]
    inner: list[tuple[tuple[str, ...], dict[str, Any], bool]] = []
    rows = []
    for key, child in node.get("properties", {}).items():
        child = schema.resolve(child)
        items = schema.resolve(child.get("items", {}))
        if "properties" in child:
            inner.append(((*route, key), child, False))
        elif "properties" in items:
            inner.append(((*route, key), items, True))
        else:
            rows.append(_row(key, child, key in node.get("required", [])))
    if rows:
        parts.append("\n| key | type | default | |\n|---|---|---|---|\n" + "".join(rows))
    for child_route, child, is_array in inner:
        parts += _table(child_route, child, is_array)
    return parts


def _row(key: str, node: dict[str, Any], required: bool) -> str:
    extra = node.get("x-kap", {})
    words = [node["description"]]
    if "examples" in node:
        words.append("Example: " + " or ".join(f"`{_toml(one)}`" for one in node["examples"]) + ".")
    if "unit" in extra:
        words.append(f"In {extra['unit']}.")
    bounds = [
        f"at least {node['minimum']}" if "minimum" in node else "",
        f"at most {node['maximum']}" if "maximum" in node else "",
    ]
    if any(bounds):
        words.append((", ".join(filter(None, bounds)) + ".").capitalize())
    if "changed" in extra:
        words.append(extra["changed"])
    default = "required" if required else f"`{_toml(node['default'])}`"
    return f"| `{key}` | {_type(node)} | {default} | {' '.join(words)} |\n".replace("||", "\\|\\|")


def _type(node: dict[str, Any]) -> str:
    if "enum" in node:
        return " or ".join(f"`{_toml(one)}`" for one in node["enum"])
    names = {
        "array": "list of text",
        "object": "table of text",
        "string": "text",
        "integer": "whole number",
        "boolean": "true or false",
    }
    return names.get(node["type"], node["type"])


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        inside = ", ".join(f"{key} = {_toml(child)}" for key, child in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    return json.dumps(value, ensure_ascii=False)


if __name__ == "__main__":
    sys.exit(main())
