"""Values whose form the schema cannot judge: addresses, the proxy's URL, paths, variables; and keys that belong to the global file."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from kap.config.lints.context import Context
from kap.config.problem import Edit, Fix, Problem
from kap.document.route import Route
from kap.names.hosts import BadTarget, parse_authority

_SHELL = re.compile(r"\$\(|`")
_REFERENCE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}")
_CREDENTIAL = re.compile(r"(?i)(?:^|_)(?:TOKEN|SECRET|PASSW(?:OR)?D|PASS|PWD|APIKEY|KEY|CREDENTIALS?|PRIVATE)(?:_|$)")
_NOT_A_CREDENTIAL = re.compile(r"(?i)(?:^|_)PUBLIC(?:_|$)")


def lint(context: Context) -> Iterator[Problem]:
    """``config.address``, ``config.upstream``, ``config.path``, ``config.shell``, ``config.literal-secret``, ``config.host-secret``,
    ``config.global-only``."""
    yield from _addresses(context)
    yield from _upstream(context)
    for name in ("read_only", "hide"):
        for count, path in enumerate(getattr(context.file.run, name)):
            if path.startswith(("/", "~")) or ".." in path.split("/") or "\0" in path:
                message = "this path does not lead into the workspace"
                hint = "write it from the workspace's top, without .. in it"
                yield Problem("config.path", message, route=("run", name, count), hint=hint)
    if context.document.value and "trust" in context.document.value and context.layer != "global":
        message = "`trust` counts only in the global file: a project does not approve itself"
        fix = Fix("take it out", (Edit("remove", ("trust",)),))
        yield Problem("config.global-only", message, route=("trust",), on_key=True, hint="take it out", fixes=(fix,))
    if context.layer == "project":
        yield from _project_only(context)


def _addresses(context: Context) -> Iterator[Problem]:
    proxy, file = context.file.proxy, context.file
    places: list[tuple[Route, str]] = [
        (("proxy", "listen"), proxy.listen),
        (("proxy", "dns_listen"), proxy.dns_listen),
        (("proxy", "dns_upstream"), proxy.dns_upstream),
    ]
    places += [((name, "listen"), table.listen) for name, table in (("mcp", file.mcp), ("cli", file.cli)) if table]
    for route, text in places:
        if text and not _is_address(text):
            yield Problem(
                "config.address",
                "this is not an IP address and a port",
                route=route,
                hint='write one such as "0.0.0.0:3128"',
            )


def _is_address(text: str) -> bool:
    address, _, port = text.rpartition(":")
    try:
        ipaddress.ip_address(address.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return (
        (":" not in address or address.startswith("[")) and port.isascii() and port.isdigit() and 0 < int(port) < 65536
    )


def _upstream(context: Context) -> Iterator[Problem]:
    upstream = context.file.proxy.upstream
    if upstream.url:
        scheme, _, rest = upstream.url.partition("://")
        try:
            parse_authority(rest.removesuffix("/"), 443 if scheme == "https" else 80)
        except BadTarget as error:
            yield Problem("config.upstream", f"the proxy's address: {error}", route=("proxy", "upstream", "url"))
    elif upstream.auth_env or upstream.auth_file or upstream.hosts or upstream.direct or upstream.ca_file:
        yield Problem(
            "config.upstream", "`url` is missing: there is no upstream proxy", route=("proxy", "upstream"), on_key=True
        )
    if upstream.auth_env and upstream.auth_file:
        hint = "keep one of auth_env and auth_file"
        yield Problem(
            "config.upstream",
            "the login is given twice",
            route=("proxy", "upstream", "auth_file"),
            on_key=True,
            hint=hint,
        )


def _project_only(context: Context) -> Iterator[Problem]:
    """A project's file is written by whoever wrote the repository: no command of it is run, no secret belongs in it."""
    texts: list[tuple[Route, str, str]] = [(("env", name), name, value) for name, value in context.file.env.items()]
    for count, server in enumerate(context.file.mcp.servers if context.file.mcp else ()):
        texts += [(("mcp", "servers", count, "headers", name), name, value) for name, value in server.headers.items()]
    for route, name, value in texts:
        if _SHELL.search(value):
            message = "kap runs no shell command from a project's file"
            hint = f'set the variable on the host and write "${{{_variable(name)}}}"'
            yield Problem("config.shell", message, route=route, hint=hint)
        elif _is_credential(name) and len(_REFERENCE.sub("", value).strip()) >= 8:
            message = f"`{name}` looks like a secret written into the file"
            hint = f'write "${{{_variable(name)}}}" and set that variable on the host'
            yield Problem("config.literal-secret", message, "warning", route, hint=hint)
    upstream = context.file.proxy.upstream
    if upstream.auth_env or upstream.auth_file:
        route = ("proxy", "upstream", "auth_env" if upstream.auth_env else "auth_file")
        message = "a project's file cannot send a login of this machine to a proxy it names"
        hint = "move the table [proxy.upstream] to your own ~/.kap/kap.toml"
        yield Problem("config.host-secret", message, "warning", route, hint=hint)
    for count, name in enumerate(context.file.run.env):
        if _is_credential(name):
            message = f"a project's file cannot ask for `{name}` of this machine: it looks like a credential"
            hint = (
                f"if the agent may have it, you say so: kap run --env {name}, or [run] env of your own ~/.kap/kap.toml"
            )
            yield Problem("config.host-secret", message, route=("run", "env", count), hint=hint)


def _is_credential(name: str) -> bool:
    plain = name.replace("-", "_")
    if plain.lower() in ("authorization", "proxy_authorization", "cookie"):
        return True
    return bool(_CREDENTIAL.search(plain)) and not _NOT_A_CREDENTIAL.search(plain)


def _variable(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]", "_", name).upper()
