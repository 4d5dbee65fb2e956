"""One table of wrong files: the code, the place, whether it is an error, and the cure (carried out, it cures)."""

from __future__ import annotations

import pytest

from kap.config.check import Checked, check
from kap.config.problem import Problem
from kap.document.edits import apply
from kap.document.toml import parse

ALLOW = "[proxy.network]\nallow = [{}]\n"


def checked(text: str, layer: str = "project") -> Checked:
    return check(parse(text), layer, "kap.toml")


def marked(problem: Problem, text: str) -> str:
    document = parse(text)
    span = problem.span or document.nearest(problem.route, problem.on_key)
    return text[span.start : span.end] if span else ""


CASES = [
    # keys
    ("unknown key, by spelling", "[proxy.network]\nalow = ['example.com']\n", "config.unknown-key", "alow", "did you mean `allow`?"),
    ("unknown key, another word", "[proxy.network]\nwhitelist = []\n", "config.unknown-key", "whitelist", "did you mean `allow`?"),
    ("unknown key, dashes", "ssh-agent = true\n", "config.unknown-key", "ssh-agent", "did you mean `ssh_agent`?"),
    ("unknown key, case", "Presets = []\n", "config.unknown-key", "Presets", "did you mean `presets`?"),
    ("unknown table", "[proxy.netwrok]\nallow = []\n", "config.unknown-key", "netwrok", "did you mean `network`?"),
    ("another table's key", "[proxy]\nallow = ['example.com']\n", "config.unknown-key", "allow", "`allow` belongs in [proxy.network]"),
    ("a top key in a table",
     "[run]\npresets = []\n",
     "config.unknown-key", "presets", "`presets` belongs at the top, before the first [table]"),
    ("a table one level up", "[network]\nallow = ['example.com']\n", "config.unknown-key", "network", "write [proxy.network]"),
    ("an array one level up", "[[servers]]\nname = 'x'\n", "config.unknown-key", "servers", "write [[mcp.servers]]"),
    ("nothing alike", "xyzzy = 1\n", "config.unknown-key", "xyzzy", "the keys here are: presets, "),
    ("in an array of tables",
     "[[cli.tools]]\nname = 'gh'\nallow = ['*']\nmodes = 'proxy'\n",
     "config.unknown-key", "modes", "did you mean `mode`?"),
    # types and values
    ("text for a list", "presets = 'python'\n", "config.type", "'python'", "put it in brackets: [...]"),
    ("text for true", "ssh_agent = 'true'\n", "config.type", "'true'", "write true without quotes"),
    ("text for a number", "[proxy.limits]\nconnections = '5'\n", "config.type", "'5'", "write 5 without quotes"),
    ("a number for text", "[proxy]\nlisten = 3128\n", "config.type", "3128", ""),
    ("true for a number", "[proxy.limits]\nconnections = true\n", "config.type", "true", ""),
    ("a fraction for a whole number", "[proxy.limits]\nconnections = 5.0\n", "config.type", "5.0", ""),
    ("a date", "[proxy]\nlisten = 2026-01-01\n", "config.type", "2026-01-01", ""),
    ("a number in a list", ALLOW.format("1"), "config.type", "1", ""),
    ("an array of tables for a table",
     "[[proxy]]\nlisten = '0.0.0.0:1'\n",
     "config.type", "proxy", "write [proxy], with single brackets"),
    ("a table for an array of tables", "[mcp.servers]\nname = 'x'\n", "config.type", "servers", ""),
    ("nan", "[proxy.limits]\nhead_seconds = nan\n", "config.value", "nan", "write a number"),
    ("infinite", "[proxy.limits]\nhead_seconds = inf\n", "config.value", "inf", ""),
    ("zero", "[proxy.limits]\nhead_seconds = 0\n", "config.value", "0", ""),
    ("negative", "[proxy.observe]\nkeep = -1\n", "config.value", "-1", ""),
    ("too large", "[proxy.limits]\nconnections = 10000000\n", "config.value", "10000000", ""),
    ("a mode there is not", "[[cli.tools]]\nname = 'x'\nmode = 'prox'\n", "config.value", "'prox'", 'write "proxy" or "direct"'),
    ("an empty rule", ALLOW.format("''"), "config.value", "''", ""),
    ("no name", "[[mcp.servers]]\nallow = ['*']\n", "config.required", "servers", 'add name = "..."'),
    ("a bad variable name", "[env]\n'A-B' = 'x'\n", "config.value", "'A-B'", "write a variable name: letters, digits and _"),
    ("a bad tool name", "[[cli.tools]]\nname = '../x'\nallow = ['*']\n", "config.value", "'../x'", "write a name: letters"),
    # addresses and paths
    ("no port", "[proxy]\nlisten = '0.0.0.0'\n", "config.value", "'0.0.0.0'", "write an IP address and a port"),
    ("a name to listen on", "[proxy]\nlisten = 'localhost:3128'\n", "config.value", "'localhost:3128'", "write an IP address and a port"),
    ("no such address", "[proxy]\nlisten = '256.0.0.1:1'\n", "config.address", "'256.0.0.1:1'", ""),
    ("no such port", "[proxy]\ndns_upstream = '192.0.2.1:70000'\n", "config.address", "'192.0.2.1:70000'", ""),
    ("a login in the URL",
     "[proxy.upstream]\nurl = 'http://u@proxy.example.com:1'\n",
     "config.value", "'http://u@proxy.example.com:1'", "write a proxy URL"),
    ("a bad host in the URL", "[proxy.upstream]\nurl = 'http://a..b:1'\n", "config.upstream", "'http://a..b:1'", ""),
    ("a proxy without URL", "[proxy.upstream]\nauth_env = 'LOGIN'\n", "config.upstream", "upstream", ""),
    ("two logins",
     "[proxy.upstream]\nurl = 'http://p.example.com'\nauth_env = 'A'\nauth_file = 'b'\n",
     "config.upstream", "auth_file", "keep one"),
    ("a path out", "[run]\nhide = ['../x']\n", "config.path", "'../x'", ""),
    ("a path from the root", "[run]\nread_only = ['/etc']\n", "config.path", "'/etc'", ""),
    # rules
    ("a star inside", ALLOW.format("'*hub.com'"), "config.pattern", "'*hub.com'", 'write "*.hub.com"'),
    ("a URL", ALLOW.format("'https://example.com/x'"), "config.pattern", "'https://example.com/x'", 'write "example.com"'),
    ("a bad deny", "[proxy.network]\ndeny = ['a b']\n", "config.pattern", "'a b'", ""),
    ("host bits", "[proxy.network]\nprivate = ['10.0.0.1/8']\n", "config.pattern", "'10.0.0.1/8'", 'write "10.0.0.0/8"'),
    ("a name as private", "[proxy.network]\nprivate = ['example.com']\n", "config.pattern", "'example.com'", ""),
    ("an upstream pattern", "[proxy.upstream]\nurl = 'http://p.example.com'\ndirect = ['a/b']\n", "config.pattern", "'a/b'", 'write "a"'),
    # presets
    ("unknown preset", "presets = ['pyton']\n", "config.unknown-preset", "'pyton'", 'did you mean "python"?'),
    ("a preset's other name", "presets = ['npm']\n", "config.unknown-preset", "'npm'", 'did you mean "node"?'),
    ("a host for a preset",
     "presets = ['example.com']\n",
     "config.unknown-preset", "'example.com'", "a host goes into [proxy.network] allow"),
    ("a part there is not",
     "presets = ['python:all']\n",
     "config.unknown-preset", "'python:all'", 'write "python", "python:optional" or "python:wide"'),
    ("telemetry", "presets = ['vscode:telemetry']\n", "config.unknown-preset", "'vscode:telemetry'", "name the host in allow"),
    ("never", "presets = ['never']\n", "config.unknown-preset", "'never'", ""),
    # services
    ("two servers",
     "[[mcp.servers]]\nname='a'\nallow=['*']\n[[mcp.servers]]\nname='a'\nallow=['*']\n",
     "config.duplicate-name", "'a'", ""),
    ("two tools, by case",
     "[[cli.tools]]\nname='a'\nallow=['*']\n[[cli.tools]]\nname='A'\nallow=['*']\n",
     "config.duplicate-name", "'A'", ""),
    ("a server without tools", "[[mcp.servers]]\nname = 'a'\n", "config.empty-allow", "servers", 'write allow = ["*"] for all'),
    ("a command without any", "[[cli.tools]]\nname = 'a'\n", "config.empty-allow", "tools", 'write allow = ["*"]'),
    ("direct with a filter",
     "[[cli.tools]]\nname='a'\nmode='direct'\ndeny=['x']\n",
     "config.direct-mode", "deny", 'take `deny` out, or write mode = "proxy"'),
    ("a star in a tool", "[[mcp.servers]]\nname='a'\nallow=['*_get']\n", "config.tool-pattern", "'*_get'", 'write one such as "get_*"'),
    # a project runs nothing and approves nothing
    ("a shell command", "[env]\nGH_TOKEN = '$(gh auth token)'\n", "config.shell", "'$(gh auth token)'", 'write "${GH_TOKEN}"'),
    ("backticks", "[env]\nA = '`id`'\n", "config.shell", "'`id`'", ""),
    ("a shell command in a header",
     "[[mcp.servers]]\nname='a'\nallow=['*']\n[mcp.servers.headers]\nX-Key='$(id)'\n",
     "config.shell", "'$(id)'", 'write "${X_KEY}"'),
    ("trust", "trust = 'workspace'\n", "config.global-only", "trust", "take it out"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "code", "where", "hint"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_errors(text: str, code: str, where: str, hint: str) -> None:
    result = checked(text)
    assert result.file is None
    errors = [one for one in result.problems if one.severity == "error"]
    assert [one.code for one in errors] == [code]
    assert marked(errors[0], text) == where
    assert hint in errors[0].hint
    for fix in errors[0].fixes:
        cured = checked(apply(text, fix.edits))
        assert not any(one.severity == "error" and one.code == code for one in cured.problems), fix.title


WARNINGS = [
    ("nothing allowed", "", "config.nothing-allowed", ""),
    ("everything", ALLOW.format("'*'"), "config.allow-all", "'*'"),
    ("the whole address space", ALLOW.format("'0.0.0.0/0'"), "config.allow-all", "'0.0.0.0/0'"),
    ("twice", ALLOW.format("'example.com', 'EXAMPLE.com.'"), "config.duplicate-rule", "'EXAMPLE.com.'"),
    ("shadowed", ALLOW.format("'*.example.com', 'a.b.example.com'"), "config.shadowed-rule", "'a.b.example.com'"),
    ("shadowed network", ALLOW.format("'192.0.2.0/24', '192.0.2.7'"), "config.shadowed-rule", "'192.0.2.7'"),
    ("shadowed deny",
     "presets=['go']\n[proxy.network]\ndeny=['*.example.com','a.example.com:22']\n",
     "config.shadowed-rule", "'a.example.com:22'"),
    ("defeated", ALLOW.format("'a.example.com'") + "deny = ['*.example.com']\n", "config.defeated-rule", "'a.example.com'"),
    ("defeated, same port",
     ALLOW.format("'a.example.com:22'") + "deny = ['a.example.com:22']\n",
     "config.defeated-rule", "'a.example.com:22'"),
    ("public suffix", ALLOW.format("'*.co.uk'"), "config.public-suffix", "'*.co.uk'"),
    ("shared host", ALLOW.format("'*.s3.amazonaws.com'"), "config.shared-host", "'*.s3.amazonaws.com'"),
    ("shared host inside", ALLOW.format("'*.github.com'"), "config.shared-host", "'*.github.com'"),
    ("paste site", ALLOW.format("'gist.github.com'"), "config.shared-host", "'gist.github.com'"),
    ("private, too wide", "presets=['go']\n[proxy.network]\nprivate = ['0.0.0.0/0']\n", "config.private-grant", "'0.0.0.0/0'"),
    ("private, metadata",
     "presets=['go']\n[proxy.network]\nprivate = ['169.254.169.254']\n",
     "config.private-grant", "'169.254.169.254'"),
    ("private, loopback", "presets=['go']\n[proxy.network]\nprivate = ['127.0.0.1']\n", "config.private-grant", "'127.0.0.1'"),
    ("preset twice", "presets = ['go', 'go']\n", "config.duplicate-rule", "'go'"),
    ("wide preset", "presets = ['github:wide']\n", "config.wide-preset", "'github:wide'"),
    ("dead preset", "presets = ['go']\n[proxy.network]\ndeny = ['*.golang.org']\n", "config.dead-preset", "'go'"),
    ("empty preset", "presets = ['llm-others']\n", "config.dead-preset", "'llm-others'"),
    ("a secret by its name", "presets=['go']\n[env]\nAPI_KEY = 'abcdefgh'\n", "config.literal-secret", "'abcdefgh'"),
    ("a secret in a header",
     "presets=['go']\n[[mcp.servers]]\nname='a'\nallow=['*']\nheaders={Authorization='Bearer abc12'}\n",
     "config.literal-secret", "'Bearer abc12'"),
    ("a login for a project's proxy", "presets=['go']\n[proxy.upstream]\nurl='http://p.example.com'\nauth_file='x'\n",
     "config.host-secret", "'x'"),
    ("only denials for a command", "presets=['go']\n[[cli.tools]]\nname='gh'\ndeny=['x']\n", "config.empty-allow", "tools"),
    ("byte order mark", "\ufeffpresets = ['go']\n", "config.bom", "\ufeff"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "code", "where"), [case[1:] for case in WARNINGS], ids=[case[0] for case in WARNINGS])
def test_warnings_leave_the_file_usable(text: str, code: str, where: str) -> None:
    result = checked(text)
    assert result.file is not None, result.problems
    assert [one.code for one in result.problems] == [code]
    assert result.problems[0].severity == "warning"
    assert marked(result.problems[0], text) == where
    for fix in result.problems[0].fixes:
        assert code not in [one.code for one in checked(apply(text, fix.edits)).problems], fix.title


def test_a_repository_cannot_ask_for_a_credential_of_the_host() -> None:
    text = "presets=['go']\n[run]\nenv = ['EDITOR', 'AWS_SECRET_ACCESS_KEY']\n"
    result = checked(text)
    assert result.file is None
    assert [(one.code, one.severity) for one in result.problems] == [("config.host-secret", "error")]
    assert marked(result.problems[0], text) == "'AWS_SECRET_ACCESS_KEY'"


CLEAN = [
    "presets = ['python', 'claude-code', 'github', 'node:optional']\n",
    ALLOW.format("'example.com', '*.example.com', 'example.com:22', 'db.example.com:5432/tcp', '192.0.2.0/24:443', '[2001:db8::1]:443'"),
    ALLOW.format("'*.example.com:22', 'a.example.com'"),  # another port is not shadowed
    ALLOW.format("'example.com'") + "deny = ['example.com:22']\n",  # one port of three is denied
    ALLOW.format("'*.github.com'") + "deny = ['gist.github.com']\n",
    ALLOW.format("'mybucket.s3.amazonaws.com'"),
    "presets=['go']\n[proxy.network]\nprivate = ['10.1.0.0/16', 'fd00::/8']\nech = ['example.com']\n",
    "presets=['go']\n[proxy]\nlisten='127.0.0.1:8080'\ndns_listen='[::1]:53'\ndns_upstream='192.0.2.53:53'\n",
    "presets=['go']\n[proxy.upstream]\nurl='http://proxy.example.com:3128'\ndirect=['*.corp.example.com']\n",
    "presets=['go']\n[proxy.limits]\nhead_seconds = 5\nconnections = 10\n[proxy.observe]\nlog='/var/log/kap/proxy.jsonl'\nkeep=0\n",
    "presets=['go']\n[run]\nenv=['EDITOR']\nread_only=['.github']\nhide=['secrets', '..x']\n",
    "presets=['go']\n[env]\nGH_TOKEN='${GH_TOKEN}'\nAPI_KEY='${A}${B}'\nPUBLIC_KEY='ssh-ed25519 AAAA'\nEDITOR='vi'\n",
    "presets=['go']\nssh_agent=true\nssh_signing=false\n[setup]\nclaude_code=true\n[compose]\nimage='example.com/kap:1'\nbuild={context='.'}\n",
    "presets=['go']\n[mcp]\nlisten='0.0.0.0:3129'\n[[mcp.servers]]\nname='a'\nallow=['*']\ndeny=['x*']\nheaders={X='${Y}'}\n",
    "presets=['go']\n[cli]\n[[cli.tools]]\nname='gh'\nallow=['*']\nenv=['GH_TOKEN']\n[[cli.tools]]\nname='x'\nmode='direct'\n",
]  # fmt: skip


@pytest.mark.parametrize("text", CLEAN)
def test_good_files_have_no_problems(text: str) -> None:
    result = checked(text)
    assert result.problems == ()
    assert result.file is not None


def test_the_global_file_may_hold_denials_and_commands_and_trust() -> None:
    text = "trust = 'workspace'\n[proxy.network]\ndeny = ['*.example.com']\n[env]\nGH_TOKEN = '$(gh auth token)'\n"
    assert checked(text, "global").problems == ()


def test_without_advice_every_error_is_still_found() -> None:
    for _, text, code, *_ in CASES:
        assert code in [one.code for one in check(parse(text), advice=False).problems]
    assert check(parse(ALLOW.format("'*.co.uk'")), advice=False).problems == ()


def test_syntax_comes_first_and_alone() -> None:
    result = checked("alow = [\n")
    assert [one.code for one in result.problems] == ["config.syntax"]
    assert result.problems[0].path == "kap.toml"


def test_several_problems_are_all_reported() -> None:
    result = checked("alow = 1\npresets = ['nope-nope']\n[proxy.network]\nallow = ['a b', '*x.com']\n")
    assert sorted(one.code for one in result.problems) == [
        "config.pattern",
        "config.pattern",
        "config.unknown-key",
        "config.unknown-preset",
    ]


def test_no_rename_onto_a_key_that_is_there() -> None:
    (problem,) = checked("[proxy.network]\nalow = []\nallow = ['example.com']\n").problems
    assert problem.hint == "did you mean `allow`?"
    assert problem.fixes == ()


def test_ten_thousand_rules_are_checked_without_comparing_each_to_each() -> None:
    hosts = ", ".join(f"'h{count}.example.com'" for count in range(10_000))
    denied = ", ".join(f"'d{count}.example.com'" for count in range(10_000))
    assert checked(ALLOW.format(hosts) + f"deny = [{denied}]\n").problems == ()
