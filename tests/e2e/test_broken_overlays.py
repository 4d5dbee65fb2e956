"""Break the overlay, or what it rests on, one way at a time: the gate stops the container, or `kap status` says what is wrong.

Each change is made to a real project, which is then brought up by the devcontainer CLI. initializeCommand is taken out first: it would
write the overlay anew, which is a test of its own. All changed projects start a few at a time before the first test looks at its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from lab import images
from lab.engine import Lab
from lab.project import DevContainer

from kap.devcontainer.overlay import IMAGE

Make = Callable[..., DevContainer]
Change = Callable[[DevContainer], None]

INHIBIT = "    driver_opts:\n      com.docker.network.bridge.inhibit_ipv4: 'true'\n"
INTERNAL = "    internal: true\n"
DNS_APP = "    dns: !override\n    - {sidecar}\n    dns_search"
CAPS = "    cap_drop:\n    - NET_ADMIN\n    - NET_RAW\n"
APP_NETWORKS = "    networks: !override\n      kap-internal: {}\n"
DEPENDS = "    depends_on:\n      kap-sidecar:\n        condition: service_healthy\n"


AT_ONCE = 4


class Outcome:
    """What came of one changed project: of bringing it up, of its app container, and of `kap status` afterwards."""

    def __init__(self, project: DevContainer, change: Change) -> None:
        accepted = project.kap("overlay")
        assert accepted.returncode == 0, accepted.stderr
        text = project.config.read_text()
        project.config.write_text("\n".join(line for line in text.splitlines() if "initializeCommand" not in line))
        change(project)
        self.up = project.up()
        self.apps = project.containers("app")
        if (
            self.up.returncode != 0
            and self.apps
            and "gate" in self.up.stdout + self.up.stderr + project.lab.docker("logs", *self.apps).stderr
        ):
            project.stopped(self.apps[0])
        self.state: dict[str, Any] = project.inspect(self.apps[0])["State"] if self.apps else {}  # type: ignore[assignment]
        self.log = project.lab.docker("logs", self.apps[0]).stderr if self.apps else ""
        self.status = project.kap("status", "--json")
        self.report = json.loads(self.status.stdout)


@pytest.fixture(scope="module")
def outcomes(
    request: pytest.FixtureRequest, lab: Lab, cli: str, sidecar_image: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[Change], Outcome]]:
    """The outcome of a change. Those of all selected tests are under way from the first one on."""
    changes = {
        item.callspec.params["change"]: None
        for item in request.session.items
        if "change" in getattr(getattr(item, "callspec", None), "params", {})
    }
    with ThreadPoolExecutor(AT_ONCE) as pool:
        made: dict[Change, Future[Outcome]] = {}
        for change in changes:
            made[change] = pool.submit(_try, lab, cli, tmp_path_factory.mktemp("broken"), change)
        yield lambda change: made[change].result(timeout=400)


def _try(lab: Lab, cli: str, directory: Path, change: Change) -> Outcome:
    project = DevContainer(
        lab, cli, "compose-with-db", directory, images.BASE, called=change.__name__.replace("_", "-")
    )
    try:
        return Outcome(project, change)
    finally:
        project.close()


def app_part(project: DevContainer, *changes: tuple[str, str]) -> None:
    """Change the overlay's part about the service `app` only."""
    text = project.overlay.read_text()
    start, end = text.index("\n  app:\n"), text.index("\n  db:\n")
    part = text[start:end]
    for old, new in changes:
        assert old in part, f"no {old!r} in:{part}"
        part = part.replace(old, new)
    project.overlay.write_text(text[:start] + part + text[end:])


def sidecar_of(project: DevContainer) -> str:
    return next(line.split()[-1] for line in project.overlay.read_text().splitlines() if "ipv4_address" in line)


def no_host_inhibition(project: DevContainer) -> None:
    project.edit(project.overlay, (INHIBIT, ""))


def not_internal(project: DevContainer) -> None:
    project.edit(project.overlay, (INHIBIT, ""), (INTERNAL, ""))


def no_dns(project: DevContainer) -> None:
    app_part(project, (f"    dns: !override\n    - {sidecar_of(project)}\n", "    dns: !reset null\n"))


def another_dns(project: DevContainer) -> None:
    app_part(project, (f"    - {sidecar_of(project)}\n", "    - 8.8.8.8\n"))


def capabilities_kept(project: DevContainer) -> None:
    app_part(project, (CAPS, ""))


def second_network(project: DevContainer) -> None:
    app_part(project, (APP_NETWORKS, APP_NETWORKS + "      default: {}\n"))


def networks_merged(project: DevContainer) -> None:
    app_part(project, ("networks: !override", "networks:"))


def no_sidecar(project: DevContainer) -> None:
    text = project.overlay.read_text().replace(DEPENDS, "")
    start = text.index("\n  kap-sidecar: !override")
    project.overlay.write_text(text[:start] + "\n" + text[text.index("\nx-kap:") + 1 :])


def overlay_not_listed(project: DevContainer) -> None:
    project.edit(project.config, ('["compose.yml", "kap.overlay.yml"]', '"compose.yml"'))


def privileged(project: DevContainer) -> None:
    app_part(project, ("    labels:\n", "    privileged: true\n    labels:\n"))


def host_network(project: DevContainer) -> None:
    app_part(
        project,
        ("    network_mode: !reset null\n" + APP_NETWORKS, "    network_mode: host\n    networks: !reset null\n"),
        (f"    dns: !override\n    - {sidecar_of(project)}\n", ""),
    )


def engine_socket(project: DevContainer) -> None:
    project.edit(
        project.overlay.parent / "compose.yml",
        ("- ..:/workspace", f"- ..:/workspace\n      - {project.lab.socket}:/var/run/docker.sock"),
    )


def another_sidecar(project: DevContainer) -> None:
    """Something that answers on the port and says yes to everything."""
    serve = 'command: [sh, -c, "mkdir -p /tmp/w && exec busybox httpd -f -p 3128 -h /tmp/w"]'
    serve += '\n    healthcheck: {test: [CMD, "true"], interval: 1s}'
    project.edit(project.overlay, (f"    image: {IMAGE}\n", f"    image: {images.BASE}\n    {serve}\n"))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (no_host_inhibition, "gate.host-reachable"),
        (not_internal, "gate.direct-route"),
        (no_dns, "gate.resolver"),
        (another_dns, "gate.resolver"),
        (capabilities_kept, "gate.capabilities"),
        (second_network, "gate.second-network"),
        (networks_merged, "gate.second-network"),
        (no_sidecar, "gate.no-sidecar"),
        (overlay_not_listed, "gate.no-sidecar"),
        (privileged, "gate.privileged"),
        (host_network, "gate.direct-route"),
        (engine_socket, "gate.engine-socket"),
        (another_sidecar, "gate.not-sidecar"),
    ],
)
def test_the_gate_stops_the_container(outcomes: Callable[[Change], Outcome], change: Change, code: str) -> None:
    outcome = outcomes(change)
    assert outcome.up.returncode != 0, outcome.up.stdout
    assert (outcome.state.get("Running"), outcome.state.get("ExitCode")) == (False, 137), outcome.up.stderr[-3000:]
    assert code in outcome.log
    assert "NOT ISOLATED" in outcome.log
    failed = [c["code"] for c in outcome.report["checks"] if c["state"] == "failed"]
    assert (outcome.status.returncode, failed) == (1, ["gate.no-container"])


def policy_missing(project: DevContainer) -> None:
    (project.state / "policy" / "kap.toml").unlink()


def policy_broken(project: DevContainer) -> None:
    (project.state / "policy" / "kap.toml").write_text("[proxy.network\nallow = 7\n")


def policy_directory_missing(project: DevContainer) -> None:
    (project.state / "policy" / "kap.toml").unlink()
    (project.state / "policy").rmdir()


@pytest.mark.parametrize("change", [policy_missing, policy_broken, policy_directory_missing])
def test_without_a_policy_nothing_starts(outcomes: Callable[[Change], Outcome], change: Change) -> None:
    outcome = outcomes(change)
    assert outcome.up.returncode != 0, outcome.up.stdout
    assert outcome.state.get("Running", False) is False
    assert outcome.status.returncode == 1


def policy_of_the_workspace(project: DevContainer) -> None:
    text = project.overlay.read_text()
    source = next(line.strip() for line in text.splitlines() if line.endswith("/policy"))
    project.edit(project.overlay, (source, f"source: {project.directory}"))


def sibling_left_out(project: DevContainer) -> None:
    text = project.overlay.read_text()
    start, end = text.index("\n  db:\n"), text.index("\n  kap-sidecar:")
    project.overlay.write_text(text[:start] + text[end:])


def not_internal_but_no_address(project: DevContainer) -> None:
    project.edit(project.overlay, (INTERNAL, ""))


def powerful_sidecar(project: DevContainer) -> None:
    text = project.overlay.read_text()
    start = text.index("\n  kap-sidecar: !override")
    part = text[start:]
    for old, new in (
        ("\n    read_only: true", ""),
        ("    cap_drop:\n    - ALL\n", ""),
        ("    user: 65532:65532", "    user: root"),
    ):
        assert old in part
        part = part.replace(old, new)
    project.overlay.write_text(text[:start] + part)


def home_mounted(project: DevContainer) -> None:
    home = project.home
    project.edit(
        project.overlay.parent / "compose.yml", ("- ..:/workspace", f"- ..:/workspace\n      - {home}:/host-home")
    )


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (policy_of_the_workspace, {("sidecar", "gate.policy")}),
        (sibling_left_out, {("db", "gate.network-open"), ("db", "gate.resolver"), ("db", "gate.capabilities")}),
        (not_internal_but_no_address, {("app", "gate.network-open"), ("db", "gate.network-open")}),
        (powerful_sidecar, {("sidecar", "gate.sidecar-confined")}),
        (home_mounted, {("app", "gate.host-mount")}),
    ],
)
def test_status_finds_what_the_gate_cannot_see(
    outcomes: Callable[[Change], Outcome], change: Change, expected: set[tuple[str, str]]
) -> None:
    outcome = outcomes(change)
    assert outcome.up.returncode == 0, outcome.up.stdout + outcome.up.stderr
    checks = outcome.report["checks"]
    assert expected <= {(c["subject"], c["code"]) for c in checks if c["state"] == "failed"}, json.dumps(
        checks, indent=1
    )
    assert (outcome.status.returncode, outcome.report["ok"]) == (1, False)
    assert all(c["fix"] for c in checks if c["state"] != "ok")


def test_a_broken_overlay_is_written_anew_when_the_project_starts(project: Make) -> None:
    container = project()
    assert container.kap("overlay").returncode == 0
    whole = container.overlay.read_text()
    not_internal(container)
    started = container.up()
    assert started.returncode == 0, started.stdout + started.stderr
    assert container.overlay.read_text() == whole


def test_a_project_whose_policy_nobody_accepted_does_not_start(project: Make) -> None:
    container = project()
    started = container.up()
    assert started.returncode != 0
    assert "no policy has been accepted" in started.stderr + started.stdout
    assert container.containers() == []


@pytest.mark.parametrize("image", ["debian", "busybox"])
def test_a_feature_alone_does_not_let_a_container_run(project: Make, lab: Lab, small_image: str, image: str) -> None:
    """Only the line in "features", no host half: the default network of the engine, wide open."""
    container = project("plain-image", images.BASE if image == "debian" else small_image)
    started = container.up()
    assert started.returncode != 0, started.stdout
    (app,) = container.containers()
    assert container.stopped(app) == (True, 137)
    log = lab.docker("logs", app).stderr
    assert "gate.no-sidecar" in log
    assert "gate.direct-route" in log
    assert "NOT ISOLATED" in log


def test_the_gate_passes_on_busybox_alone(project: Make, small_image: str) -> None:
    container = project(image=small_image)
    assert container.kap("overlay").returncode == 0
    started = container.up()
    assert started.returncode == 0, started.stdout + started.stderr
    done = container.kap("status")
    assert done.returncode == 0, done.stdout
