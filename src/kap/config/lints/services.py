"""MCP servers and commands: entries that allow nothing, contradict themselves, or share a name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kap.config.lints.context import Context
from kap.config.model import CliTool, McpServer
from kap.config.problem import Problem, Severity
from kap.document.route import Route


def lint(context: Context) -> Iterator[Problem]:
    """``config.duplicate-name``, ``config.empty-allow``, ``config.direct-mode``, ``config.tool-pattern``."""
    servers = context.file.mcp.servers if context.file.mcp else ()
    tools = context.file.cli.tools if context.file.cli else ()
    yield from _names([one.name for one in servers], ("mcp", "servers"))
    yield from _names([one.name for one in tools], ("cli", "tools"))
    for count, server in enumerate(servers):
        yield from _server(server, ("mcp", "servers", count))
    for count, tool in enumerate(tools):
        yield from _tool(tool, ("cli", "tools", count))


def _names(names: Sequence[str], route: Route) -> Iterator[Problem]:
    seen: set[str] = set()
    for count, name in enumerate(names):
        if name.lower() in seen:
            message = f'the name "{name}" is given twice'
            yield Problem(
                "config.duplicate-name", message, route=(*route, count, "name"), hint="put both into one entry"
            )
        seen.add(name.lower())


def _server(server: McpServer, route: Route) -> Iterator[Problem]:
    if not server.allow:
        message = f'the server "{server.name}" allows no tool'
        yield Problem(
            "config.empty-allow", message, route=(*route, "allow"), on_key=True, hint='write allow = ["*"] for all'
        )
    for name in ("allow", "deny"):
        for count, pattern in enumerate(getattr(server, name)):
            if "*" in pattern[:-1]:
                message = "`*` stands only at the end of a tool's name"
                yield Problem(
                    "config.tool-pattern", message, route=(*route, name, count), hint='write one such as "get_*"'
                )


def _tool(tool: CliTool, route: Route) -> Iterator[Problem]:
    if tool.mode == "direct":
        for name in ("allow", "deny"):
            if getattr(tool, name):
                message = f"`{name}` has no effect in direct mode: the command runs inside the capsule, where nothing filters it"
                hint = f'take `{name}` out, or write mode = "proxy"'
                yield Problem("config.direct-mode", message, route=(*route, name), on_key=True, hint=hint)
    elif not tool.allow:
        message = f'the command "{tool.name}" allows nothing'
        severity: Severity = "warning" if tool.deny else "error"
        hint = 'write allow = ["*"] for every subcommand'
        yield Problem("config.empty-allow", message, severity, (*route, "allow"), on_key=True, hint=hint)
