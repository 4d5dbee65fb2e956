"""Layers: found, read, merged; a deny of any layer stays, the machine's owner keeps the say, one error refuses everything."""

from __future__ import annotations

from pathlib import Path

import pytest

from kap.config import layers
from kap.config.layers import Loaded, Rule, find_project, load, project_file, review
from kap.errors import ConfigError


class Files:
    """A project and a global file in a temporary directory."""

    def __init__(self, root: Path) -> None:
        self.project, self.globe = root / "project" / "kap.toml", root / "home" / "kap.toml"
        self.project.parent.mkdir()
        self.globe.parent.mkdir()

    def load(self, project: str, globe: str | None = None, run: tuple[tuple[str, str], ...] = ()) -> Loaded:
        self.project.write_text(project)
        if globe is not None:
            self.globe.write_text(globe)
        return load(self.project, global_path=self.globe, run=run)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def rules(loaded: Loaded, *effects: str) -> list[tuple[str, str, str, str]]:
    assert loaded.config is not None, loaded.problems
    return [
        (rule.effect, rule.text, rule.layer, rule.via)
        for rule in loaded.config.rules
        if rule.layer != "builtin" and (not effects or rule.effect in effects)
    ]


def codes(loaded: Loaded) -> list[str]:
    return [problem.code for problem in loaded.problems]


def test_rules_of_every_layer_add_up_with_their_provenance(files: Files) -> None:
    loaded = files.load(
        "presets = ['go']\n[proxy.network]\nallow = ['b.example']\n",
        "[proxy.network]\nallow = ['a.example']\ndeny = ['d.example']\n",
        (("allow", "c.example"), ("private", "10.0.0.0/8")),
    )
    assert rules(loaded) == [
        ("allow", "a.example", "global", ""),
        ("deny", "d.example", "global", ""),
        ("allow", "b.example", "project", ""),
        ("allow", "proxy.golang.org", "project", "go"),
        ("allow", "sum.golang.org", "project", "go"),
        ("allow", "c.example", "run", ""),
        ("private", "10.0.0.0/8", "run", ""),
    ]
    assert loaded.config is not None
    assert loaded.config.proxy.network.allow == (
        "a.example",
        "b.example",
        "proxy.golang.org",
        "sum.golang.org",
        "c.example",
    )
    assert [layer.name for layer in loaded.config.layers] == ["builtin", "global", "project", "run"]


def test_builtin_denials_are_always_there() -> None:
    loaded = load(None, global_path=None)
    assert loaded.config is not None
    texts = {rule.text for rule in loaded.config.rules if rule.layer == "builtin" and rule.effect == "deny"}
    assert {"dns.google", "metadata.google.internal", "169.254.0.0/16"} <= texts
    assert {rule.effect for rule in loaded.config.rules} == {"deny"}


def test_locate_names_the_line_of_a_rule(files: Files) -> None:
    loaded = files.load("# one\npresets = ['go']\n[proxy.network]\nallow = [\n  'a.example',\n]\n")
    config = loaded.config
    assert config is not None
    by_text = {rule.text: rule for rule in config.rules}
    located = {text: config.locate(rule.layer, rule.route) for text, rule in by_text.items()}
    assert located["a.example"] == (str(files.project), 5)
    assert located["proxy.golang.org"] == (str(files.project), 2)
    assert located["dns.google"][1] > 0
    assert config.locate("run", ("allow", 0)) == ("", 0)
    assert config.locate("project", ("nothing",)) == (str(files.project), 0)


def test_the_digest_is_of_the_meaning(files: Files) -> None:
    one = files.load("presets = ['go']\n[proxy.network]\nallow = ['a.example', 'b.example']\n").config
    same = files.load("# x\npresets = [ 'go' ]\nproxy.network.allow = ['b.example', 'a.example']\n").config
    other = files.load("presets = ['go']\n[proxy.network]\nallow = ['a.example', 'b.example:22']\n").config
    assert one is not None and same is not None and other is not None
    assert len(one.digest) == 64
    assert one.digest == same.digest
    assert one.digest != other.digest


def test_without_a_global_file_nothing_is_missing(files: Files) -> None:
    assert files.load("presets = ['go']\n").problems == ()


@pytest.mark.parametrize(
    ("project", "globe", "code", "layer"),
    [
        ("presets = [", "", "config.syntax", "project"),
        ("presets = ['go']", "deny = [", "config.syntax", "global"),
        ("presets = ['go']", "[proxy.network]\ndeny = ['*x.com']", "config.pattern", "global"),
        ("alow = 1", "", "config.unknown-key", "project"),
    ],
)
def test_an_error_in_any_layer_refuses_everything(
    files: Files, project: str, globe: str, code: str, layer: str
) -> None:
    loaded = files.load(project, globe)
    assert loaded.config is None
    (problem,) = [one for one in loaded.problems if one.severity == "error"]
    assert (problem.code, problem.layer) == (code, layer)
    assert problem.path == str(files.project if layer == "project" else files.globe)


def test_a_global_file_that_cannot_be_read_refuses_too(files: Files) -> None:
    files.globe.mkdir()
    assert codes(files.load("presets = ['go']")) == ["config.not-a-file"]
    files.globe.rmdir()
    files.globe.symlink_to(files.globe.parent / "nowhere")
    loaded = files.load("presets = ['go']")
    assert loaded.config is None
    assert codes(loaded) == ["config.missing"]


def test_a_missing_project_file_is_an_error(tmp_path: Path) -> None:
    loaded = load(tmp_path / "kap.toml", global_path=None)
    assert loaded.config is None
    assert codes(loaded) == ["config.missing"]


@pytest.mark.parametrize(
    ("run", "code"),
    [
        (("allow", "*x.com"), "config.pattern"),
        (("private", "example.com"), "config.pattern"),
        (("permit", "a"), "config.value"),
    ],
)
def test_a_bad_grant_of_the_command_line_is_a_problem(run: tuple[str, str], code: str) -> None:
    loaded = load(None, global_path=None, run=[run])
    assert loaded.config is None
    assert [(one.code, one.layer, one.path) for one in loaded.problems] == [(code, "run", "command line")]


def test_what_the_global_file_denies_stays_denied_and_is_said(files: Files) -> None:
    loaded = files.load("[proxy.network]\nallow = ['a.example']\n", "[proxy.network]\ndeny = ['a.example']\n")
    assert ("deny", "a.example", "global", "") in rules(loaded)
    (problem,) = loaded.problems
    assert (problem.code, problem.severity, problem.layer) == ("config.defeated-rule", "warning", "project")
    assert problem.route == ("proxy", "network", "allow", 0)
    assert "global file" in problem.message


def test_the_machine_owner_has_the_say_over_where_traffic_goes(files: Files) -> None:
    loaded = files.load(
        "presets=['go']\n[proxy]\nlisten='127.0.0.1:1'\ndns_upstream='192.0.2.1:53'\n"
        "[proxy.upstream]\nurl='http://evil.example:1'\nauth_env='OTHER'\n[proxy.observe]\nlog='/tmp/x'\nkeep=9\n",
        "[proxy]\ndns_upstream='192.0.2.53:53'\n[proxy.upstream]\nurl='http://proxy.example:3128'\n[proxy.observe]\nlog='/var/log/x'\n",
    )
    assert loaded.config is not None
    proxy = loaded.config.proxy
    assert (proxy.listen, proxy.dns_upstream) == ("127.0.0.1:1", "192.0.2.53:53")
    assert (proxy.upstream.url, proxy.upstream.auth_env) == ("http://proxy.example:3128", "")
    assert (proxy.observe.log, proxy.observe.keep) == ("/var/log/x", 9)
    held = [problem.route for problem in loaded.problems if problem.code == "config.global-wins"]
    assert held == [
        ("proxy", "upstream", "url"),
        ("proxy", "upstream", "auth_env"),
        ("proxy", "observe", "log"),
        ("proxy", "dns_upstream"),
    ]


def test_a_project_lowers_limits_and_cannot_raise_the_owners(files: Files) -> None:
    loaded = files.load(
        "presets=['go']\n[proxy.limits]\nconnections = 9000\nhead_seconds = 5\nidle_seconds = 7000\n",
        "[proxy.limits]\nconnections = 100\nhead_seconds = 10\n",
    )
    assert loaded.config is not None
    limits = loaded.config.proxy.limits
    assert (limits.connections, limits.head_seconds, limits.idle_seconds) == (100, 5, 7000)
    assert [(one.code, one.route[-1]) for one in loaded.problems] == [("config.global-wins", "connections")]


def test_scalars_of_the_project_else_of_the_global_file(files: Files) -> None:
    config = files.load(
        "presets=['go']\nssh_agent=false\n", "ssh_agent=true\nssh_signing=true\ntrust='workspace'\n"
    ).config
    assert config is not None
    assert (config.ssh_agent, config.ssh_signing, config.trust) == (False, True, "workspace")
    config = files.load("presets=['go']\n", "[setup]\ngh=true\n[compose]\nimage='example.com/kap'\n").config
    assert config is not None
    assert (config.setup.gh, config.compose.image, config.trust) == (True, "example.com/kap", "approve")


def test_services_of_one_name_both_stand_and_denials_reach_both(files: Files) -> None:
    config = files.load(
        "presets=['go']\n[[mcp.servers]]\nname='a'\nallow=['*']\n[[cli.tools]]\nname='gh'\nallow=['*']\n",
        "[[mcp.servers]]\nname='a'\nallow=['get_*']\ndeny=['get_secret']\n[mcp]\nauth_dir='/x'\n",
    )
    assert config.config is not None and config.config.mcp is not None and config.config.cli is not None
    assert [(one.layer, one.allow, one.deny) for one in config.config.mcp.servers] == [
        ("global", ("get_*",), ("get_secret",)),
        ("project", ("*",), ("get_secret",)),
    ]
    assert [one.layer for one in config.config.cli.tools] == ["project"]
    assert load(None, global_path=None).config is not None
    assert files.load("presets=['go']\n", "").config is not None


def test_lists_of_run_add_up(files: Files) -> None:
    config = files.load(
        "presets=['go']\n[run]\nenv=['A','B']\nhide=['x']\n", "[run]\nenv=['B','C']\nread_only=['y']\n"
    ).config
    assert config is not None
    assert (config.run.env, config.run.read_only, config.run.hide) == (("B", "C", "A"), ("y",), ("x",))


def test_environment_is_merged_by_name(files: Files) -> None:
    config = files.load("presets=['go']\n[env]\nA='1'\n", "[env]\nA='0'\nB='2'\n").config
    assert config is not None
    assert config.env == {"A": "1", "B": "2"}


class TestFinding:
    def test_at_the_top_or_in_the_devcontainer_folder(self, tmp_path: Path) -> None:
        assert project_file(tmp_path) is None
        (tmp_path / ".devcontainer").mkdir()
        (tmp_path / ".devcontainer" / "kap.toml").write_text("")
        assert project_file(tmp_path) == tmp_path / ".devcontainer" / "kap.toml"
        (tmp_path / "kap.toml").write_text("")
        with pytest.raises(ConfigError) as caught:
            project_file(tmp_path)
        assert str(tmp_path / "kap.toml") in caught.value.message
        assert caught.value.exit_code == 2

    def test_the_nearest_one_above(self, tmp_path: Path) -> None:
        inner = tmp_path / "a" / "b"
        inner.mkdir(parents=True)
        (tmp_path / "kap.toml").write_text("")
        assert find_project(inner) == (tmp_path / "kap.toml").resolve()
        (
            tmp_path / "a" / "kap.toml"
        ).mkdir()  # not a file, but what governs here: it has to be reported, not passed over
        assert find_project(inner) == (tmp_path / "a" / "kap.toml").resolve()

    def test_a_directory_stands_for_the_file_in_it(self, tmp_path: Path) -> None:
        (tmp_path / "kap.toml").write_text("presets = ['go']")
        assert load(tmp_path, global_path=None).config is not None
        (tmp_path / ".devcontainer").mkdir()
        (tmp_path / ".devcontainer" / "kap.toml").write_text("")
        loaded = load(tmp_path, global_path=None)
        assert loaded.config is None
        assert "config.two-files" in codes(loaded)

    def test_a_link_in_a_circle_is_walked_past(self, tmp_path: Path) -> None:
        (tmp_path / "loop").symlink_to(tmp_path / "loop")
        assert find_project(tmp_path / "loop" / "x") is None

    def test_the_global_file(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.delenv("KAP_HOME", raising=False)
        monkeypatch.setenv("HOME", str(tmp_path))
        assert layers.global_path() == tmp_path / ".kap" / "kap.toml"
        monkeypatch.setenv("KAP_HOME", str(tmp_path / "k"))
        assert layers.global_path() == tmp_path / "k" / "kap.toml"


def test_review_has_every_lint_and_the_documents(files: Files) -> None:
    files.project.write_text("[proxy.network]\nallow = ['*.co.uk', 'a.example']\n")
    files.globe.write_text("[proxy.network]\ndeny = ['a.example']\n")
    found = review(files.project, global_path=files.globe)
    assert sorted(one.code for one in found.problems) == ["config.defeated-rule", "config.public-suffix"]
    assert set(found.documents) == {"global", "project"}
    assert load(files.project, global_path=None).problems == ()


def test_a_rule_says_where_it_comes_from(files: Files) -> None:
    config = files.load("presets = ['go']").config
    assert config is not None
    assert config.rules[-1] == Rule("allow", "sum.golang.org", "project", ("presets", 0), "go")
