"""``kap run`` for real: what the command reaches, sees and is given; each test as the user of the tests and as nobody."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator

import pytest

from rig.capsule import Project, processes_with
from rig.site import threaded


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    """An HTTP server on the host's loopback; a capsule reaches it through kap only."""
    with threaded("127.0.0.1") as (port, _):
        yield port


def connect(target: str, listener: str = "127.0.0.1") -> str:
    """A shell command that asks kap's proxy for `target` and prints the first line of the answer."""
    return (
        f"exec 3<>/dev/tcp/{listener}/3128; printf 'CONNECT {target} HTTP/1.1\\r\\nHost: {target}\\r\\n\\r\\n' >&3; "
        'IFS= read -r line <&3; echo "$line"'
    )


def test_allowed_is_reached_and_the_rest_is_refused_with_a_reason(project: Project, server: int) -> None:
    ask = connect(f"127.0.0.1:{server}") + "; exec 3>&-; " + connect("denied.example.com:443")
    done = project.run("bash", "-c", ask, options=("--allow", f"127.0.0.1:{server}"))
    allowed, refused = done.stdout.splitlines()
    assert allowed.startswith("HTTP/1.1 200")
    assert refused.startswith("HTTP/1.1 403")
    assert done.returncode == 0
    denials = [(e["code"], e["host"], e["port"]) for e in project.events() if e.get("verdict") == "deny"]
    assert denials == [("egress.not-listed", "denied.example.com", 443)]
    assert "kap: 1 request refused; see: kap why-denied" in done.stderr


def test_plain_http_goes_through_the_proxy(one: Project, server: int) -> None:
    lines = f"GET http://127.0.0.1:{server}/ HTTP/1.1", f"Host: 127.0.0.1:{server}", "Connection: close", "", ""
    ask = "exec 3<>/dev/tcp/127.0.0.1/3128; printf '" + "\\r\\n".join(lines) + "' >&3; cat <&3"
    done = one.run("bash", "-c", ask, options=("--allow", f"127.0.0.1:{server}"))
    assert done.stdout.startswith("HTTP/1.1 200")
    assert done.stdout.endswith("origin")


def test_a_denial_names_the_process_that_asked(project: Project) -> None:
    project.run("bash", "-c", connect("denied.example.com:443"))
    assert [e["process"] for e in project.events() if e.get("verdict") == "deny"] == ["bash[2]"]


@pytest.mark.parametrize("listener", ["127.0.0.1", "::1"])
def test_both_loopback_addresses_are_served(one: Project, listener: str) -> None:
    if listener == "::1" and not socket.has_ipv6:
        pytest.skip("no IPv6 on this machine")
    done = one.run("bash", "-c", connect("denied.example.com:443", listener))
    assert done.stdout.startswith("HTTP/1.1 403")


def test_names_resolve_to_kap_where_allowed_and_not_at_all_elsewhere(project: Project) -> None:
    look = "getent ahostsv4 allowed.example.com | head -1; getent hosts denied.example.com; echo $?"
    done = project.run("bash", "-c", look, options=("--allow", "allowed.example.com"))
    first, second = done.stdout.splitlines()
    assert first.split()[0] == "127.0.0.1"
    assert second == "2"
    codes = {(e["code"], e["host"]) for e in project.events() if e["plane"] == "dns"}
    assert ("dns.not-listed", "denied.example.com") in codes
    assert ("dns.allowed", "allowed.example.com") in codes


def test_the_transparent_ports_are_served(one: Project) -> None:
    ask = (
        "exec 3<>/dev/tcp/127.0.0.1/80; printf 'GET / HTTP/1.1\\r\\nHost: denied.example.com\\r\\n\\r\\n' >&3; IFS= read -r l <&3; echo $l;"
        "exec 4<>/dev/tcp/127.0.0.1/443; printf 'not tls at all' >&4; cat <&4"
    )
    done = one.run("bash", "-c", ask)
    assert done.stdout.startswith("HTTP/1.1 403")
    assert {e["code"] for e in one.events() if e.get("verdict") == "deny"} == {"egress.not-listed", "egress.not-tls"}


def test_there_is_no_route(project: Project) -> None:
    done = project.run("bash", "-c", "exec 3<>/dev/tcp/192.0.2.1/80")
    assert done.returncode != 0
    assert "Network is unreachable" in done.stderr


def test_exit_code_is_the_commands(project: Project) -> None:
    assert project.run("sh", "-c", "exit 0").returncode == 0
    assert project.run("sh", "-c", "exit 7").returncode == 7
    assert project.run("sh", "-c", "kill -TERM $$").returncode == 143


def test_standard_input_and_output_are_inherited(one: Project) -> None:
    data = "x" * 300_000
    done = one.run("sh", "-c", "cat; echo said >&2", input=data)
    assert done.stdout == data
    assert "said" in done.stderr


def test_no_descriptor_is_left_open(project: Project) -> None:
    keep = os.open("/", os.O_RDONLY)
    try:
        os.set_inheritable(keep, True)
        done = project.run("sh", "-c", "ls /proc/self/fd | tr '\\n' ' '")
    finally:
        os.close(keep)
    assert done.stdout.split() == ["0", "1", "2", "3"]  # 3 is ls's own


def test_the_workspace_is_writable_and_the_home_is_empty(project: Project) -> None:
    look = "echo made > made.txt && ls -A ~ && cat ~/secret.txt ~/.ssh/id_ed25519; pwd; echo $HOME; echo x > ~/new && cat ~/new"
    done = project.run("sh", "-c", look)
    assert (project.root / "made.txt").read_text() == "made\n"
    listed = done.stdout.splitlines()
    home = listed[-2]
    assert listed[:-3] == (["project"] if home == str(project.home) else [])
    assert listed[-1] == "x"
    assert listed[-3] == str(project.root)
    assert "secret" not in done.stdout + done.stderr.replace("secret.txt", "")
    assert not (project.home / "new").exists()


def test_the_state_of_kap_is_not_visible(project: Project) -> None:
    assert project.run("ls", str(project.state)).returncode != 0


def test_the_environment_is_a_short_list(project: Project) -> None:
    done = project.run("env", env={"DEMO_SECRET": "s3cret", "TZ": "UTC", "LC_ALL": "C.UTF-8", "GITHUB_TOKEN": "t"})
    names = {line.partition("=")[0] for line in done.stdout.splitlines()}
    assert "s3cret" not in done.stdout
    assert "GITHUB_TOKEN" not in names
    assert {"TZ", "LC_ALL", "PATH", "HOME", "USER"} <= names
    values = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        assert values[name] == "http://127.0.0.1:3128"
    assert values["NO_PROXY"] == values["no_proxy"] == "localhost,127.0.0.1,::1"
    assert values["NODE_USE_ENV_PROXY"] == "1"


def test_listed_variables_pass_and_are_announced(one: Project) -> None:
    one.write("kap.toml", EMPTY_WITH_ENV)
    done = one.run(
        "sh",
        "-c",
        "echo $FROM_FILE $FROM_OPTION",
        options=("--env", "FROM_OPTION"),
        env={"FROM_FILE": "a", "FROM_OPTION": "b"},
    )
    assert done.stdout == "a b\n"
    assert "FROM_FILE, FROM_OPTION" in done.stderr


EMPTY_WITH_ENV = '[proxy.network]\nallow = ["unused.example.com"]\n[run]\nenv = ["FROM_FILE"]\n'


def test_a_custom_trust_store_is_carried_in_without_its_key(project: Project) -> None:
    bundle = project.home / "corporate.pem"
    block = "-----BEGIN CERTIFICATE-----\nMIIBszCC\n-----END CERTIFICATE-----\n"
    bundle.write_text(f"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n{block}")
    project.own()
    done = project.run("sh", "-c", "cat $NODE_EXTRA_CA_CERTS", env={"NODE_EXTRA_CA_CERTS": str(bundle)})
    assert done.stdout == block


def test_hidden_and_read_only_paths(project: Project) -> None:
    project.write(
        "kap.toml",
        '[proxy.network]\nallow = ["unused.example.com"]\n[run]\nread_only = ["docs"]\nhide = ["keys", ".env"]\n',
    )
    project.write("docs/a.txt", "readable\n")
    project.write("keys/deep/k.txt", "hidden\n")
    project.write(".env", "hidden\n")
    project.own()
    done = project.run(
        "sh",
        "-c",
        "cat docs/a.txt; echo x > docs/a.txt; ls keys; cat .env; echo x > keys/n; echo x > .env; mv keys k2; mv docs d2",
    )
    assert done.stdout == "readable\n"
    assert (project.root / "docs/a.txt").read_text() == "readable\n"
    assert (project.root / "keys/deep/k.txt").exists()
    assert done.stderr.count("Read-only file system") == 3


def test_a_tool_outside_of_the_system_needs_ro(one: Project) -> None:
    tool = one.home / "tools" / "bin" / "tool"
    tool.parent.mkdir(parents=True)
    tool.write_text("#!/bin/sh\necho tool\n")
    tool.chmod(0o755)
    refused = one.run("tool", env={"PATH": f"{tool.parent}:/usr/bin:/bin"})
    assert refused.returncode == 127
    assert f"kap run --ro {one.home}/tools -- tool" in refused.stderr
    done = one.run("tool", options=("--ro", f"{one.home}/tools"), env={"PATH": f"{tool.parent}:/usr/bin:/bin"})
    assert (done.stdout, done.returncode) == ("tool\n", 0)


def test_the_policy_of_the_start_stays_in_force(one: Project) -> None:
    """The host's owner (or anybody) changes kap.toml while the command runs: this run keeps the policy it started with."""
    go = one.root / "go"
    os.mkfifo(go)
    running = one.start("bash", "-c", "echo ready; read < go; " + connect("later.example.com:443"))
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"
    one.write("kap.toml", '[proxy.network]\nallow = ["later.example.com"]\n')
    with go.open("w") as file:
        file.write("\n")
    out, _ = running.communicate(timeout=60)
    assert out.startswith("HTTP/1.1 403")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "no kap.toml"),
        ("allow = [", "kap.toml"),
        ("[proxy.network]\nalow = []\n", "allow"),
    ],
    ids=["missing", "broken", "typo"],
)
def test_a_bad_policy_starts_nothing(one: Project, text: str | None, words: str) -> None:
    (one.root / "kap.toml").unlink()
    if text is not None:
        one.write("kap.toml", text)
    done = one.run("sh", "-c", "touch started", options=("-C", str(one.root)))
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not (one.root / "started").exists()


def test_a_bad_grant_starts_nothing(one: Project) -> None:
    done = one.run("touch", "started", options=("--allow", "http://x/"))
    assert done.returncode == 2
    assert "config.pattern" in done.stderr
    assert not (one.root / "started").exists()


def test_a_command_that_is_not_there(one: Project) -> None:
    done = one.run("no-such-command-anywhere")
    assert (done.returncode, done.stderr.splitlines()[0]) == (127, "kap: no-such-command-anywhere: command not found")


def test_quiet_and_events(one: Project) -> None:
    log = one.base / "log.jsonl"
    done = one.run("bash", "-c", connect("denied.example.com:443"), options=("--quiet", "--events", str(log)))
    assert done.stderr == ""
    assert "egress.not-listed" in log.read_text()
    assert one.events() == []


def test_nothing_is_left_behind(project: Project) -> None:
    mark = f"7{os.getpid()}.5"
    project.run("sh", "-c", f"setsid sleep {mark} & sleep 0.01; exit 0")
    assert processes_with(mark) == []


def test_start_and_end_are_in_the_log(one: Project) -> None:
    one.run("sh", "-c", "exit 3")
    notices = [(e["code"], e.get("detail", "")) for e in one.events() if e["kind"] == "notice"]
    assert notices == [("capsule.started", ""), ("capsule.ended", "exit status 3, 0 refused")]


def test_the_way_to_the_reasons_works_from_elsewhere(one: Project) -> None:
    done = one.run("bash", "-c", connect("denied.example.com:443"), options=("-C", str(one.root)), cwd=one.base)
    assert f"see: kap why-denied -C {one.root}" in done.stderr


def test_closed_standard_descriptors(one: Project) -> None:
    quoted = " ".join("'" + word + "'" for word in one.argv("run", "--", "sh", "-c", "ls /proc/self/fd > fds"))
    subprocess.run(
        ["/bin/sh", "-c", f"{quoted} <&- >&- 2>&-"], env=one.environment(), cwd=one.root, timeout=60, check=True
    )
    assert (one.root / "fds").read_text().split() == ["0", "1", "2", "3"]
