"""Files written for the tool kap replaces load with the same meaning; where a meaning was a hole, a Problem says what to write."""

from __future__ import annotations

from pathlib import Path

from kap.config.layers import load, review

OLDER = """\
ssh_agent = true
ssh_signing = true

[proxy]
listen = "0.0.0.0:3128"
dns_listen = "0.0.0.0:53"
dns_upstream = "8.8.8.8:53"

[proxy.network]
allow = [
  # GitHub
  "github.com", "*.github.com", "*.githubusercontent.com",
  "*.blob.core.windows.net", # Actions artifact downloads
  "anthropic.com", "*.anthropic.com", "storage.googleapis.com",
  "*.ubuntu.com", "*.debian.org", "mise.jdx.dev", "crates.io", "*.crates.io", "proxy.golang.org",
]
deny = ["gist.github.com"]

[proxy.observe]
log = "/var/log/kap/proxy.jsonl"

[mcp]
listen = "0.0.0.0:3129"
auth_dir = "/etc/kap/auth"
[[mcp.servers]]
name = "github"
allow = ["get_*", "search_issues"]
deny = ["search_secrets"]
headers = { Authorization = "Bearer ${GH_TOKEN}" }

[cli]
listen = "0.0.0.0:3130"
[[cli.tools]]
name = "gh"
mode = "proxy"
allow = ["*"]
deny = ["auth token", "auth login", "auth logout", "auth refresh"]
env = ["GH_TOKEN"]
[[cli.tools]]
name = "terraform"
mode = "direct"
env = ["TF_TOKEN"]

[compose]
image = "ghcr.io/example/kap:latest"
[compose.build]
context = ".."
dockerfile = "Dockerfile"
target = "sidecar"

[setup]
claude_code = true
codex = false
gh = true

[env]
GH_TOKEN = "${GH_TOKEN}"
"""


def test_every_older_key_has_its_meaning(tmp_path: Path) -> None:
    (tmp_path / "kap.toml").write_text(OLDER)
    config = load(tmp_path / "kap.toml", global_path=None).config
    assert config is not None and config.mcp is not None and config.cli is not None
    assert (config.ssh_agent, config.ssh_signing) == (True, True)
    assert config.proxy.dns_upstream == "8.8.8.8:53"
    assert config.proxy.observe.log == "/var/log/kap/proxy.jsonl"
    assert config.proxy.network.allow[:2] == ("github.com", "*.github.com")
    assert config.proxy.network.deny == ("gist.github.com",)
    (server,) = config.mcp.servers
    assert (server.name, server.allow, server.deny) == ("github", ("get_*", "search_issues"), ("search_secrets",))
    assert server.headers == {"Authorization": "Bearer ${GH_TOKEN}"}
    assert [(tool.name, tool.mode, tool.env) for tool in config.cli.tools] == [
        ("gh", "proxy", ("GH_TOKEN",)),
        ("terraform", "direct", ("TF_TOKEN",)),
    ]
    assert config.compose.build is not None
    assert (config.compose.build.context, config.compose.build.target) == ("..", "sidecar")
    assert (config.setup.claude_code, config.setup.codex, config.setup.gh) == (True, False, True)
    assert config.env == {"GH_TOKEN": "${GH_TOKEN}"}


def test_its_ways_out_are_warned_about(tmp_path: Path) -> None:
    (tmp_path / "kap.toml").write_text(OLDER)
    found = review(tmp_path / "kap.toml", global_path=None).problems
    assert {problem.severity for problem in found} == {"warning"}
    shared = {problem.message.split('"')[1] for problem in found if problem.code == "config.shared-host"}
    assert {"*.blob.core.windows.net", "storage.googleapis.com"} <= shared


def test_its_holes_are_errors_with_what_to_write(tmp_path: Path) -> None:
    holes = {
        "[proxy.network]\nallow = ['*hub.com']\n": ("config.pattern", 'write "*.hub.com"'),
        "[proxy.network]\nallow = ['https://github.com']\n": ("config.pattern", 'write "github.com"'),
        "[proxy.network]\nalow = ['github.com']\n": ("config.unknown-key", "did you mean `allow`?"),
        "[env]\nGH_TOKEN = '$(gh auth token)'\n": (
            "config.shell",
            'set the variable on the host and write "${GH_TOKEN}"',
        ),
        "[proxy]\ndns_upstream = 'dns.google'\n": (
            "config.value",
            'write an IP address and a port, such as "192.0.2.53:53"',
        ),
    }
    for text, expected in holes.items():
        (tmp_path / "kap.toml").write_text(text)
        loaded = load(tmp_path / "kap.toml", global_path=None)
        assert loaded.config is None
        (problem,) = [one for one in loaded.problems if one.severity == "error"]
        assert (problem.code, problem.hint) == expected
