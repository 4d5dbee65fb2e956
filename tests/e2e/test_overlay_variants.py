"""``docker compose config`` accepts every overlay kap generates, and what it makes of it is closed, whatever the project says."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lab.engine import Lab, run

from kap.devcontainer import compose, escapes, overlay, subnets
from kap.devcontainer.overlay import EXTERNAL, INTERNAL, SIDECAR
from kap.errors import BackendError, ConfigError

NETWORK = subnets.Network("10.213.4.0/26")

VARIANTS = {
    "one service": "services: {app: {image: x}}",
    "networks as a list": "services: {app: {image: x, networks: [a, b]}}\nnetworks: {a: , b: {external: true}}",
    "networks as a map": "services: {app: {image: x, networks: {a: {aliases: [y], ipv4_address: 10.9.0.9}}}}\n"
    "networks: {a: {ipam: {config: [{subnet: 10.9.0.0/24}]}}}",
    "host network": "services: {app: {image: x, network_mode: host}}",
    "no network": "services: {app: {image: x, network_mode: none}}",
    "in the network of a sibling": "services: {app: {image: x, network_mode: 'service:db'}, db: {image: y, ports: ['5432:5432']}}",
    "dns as a text": "services: {app: {image: x, dns: 8.8.8.8, dns_search: corp.example.com}}",
    "dns as a list": "services: {app: {image: x, dns: [8.8.8.8, 1.1.1.1], dns_search: [a.example.com], dns_opt: ['ndots:5']}}",
    "environment as a list": "services: {app: {image: x, environment: ['HTTP_PROXY=http://evil.example.org', 'NO_PROXY=*', 'A=$$b']}}",
    "environment as a map": "services: {app: {image: x, environment: {https_proxy: http://evil.example.org, no_proxy: '*', B: null}}}",
    "ports": "services: {app: {image: x, ports: ['80:80', {target: 1, published: '1', mode: host}]}}",
    "depends_on as a list": "services: {app: {image: x, depends_on: [db, cache]}, db: {image: y}, cache: {image: z}}",
    "depends_on as a map": "services: {app: {image: x, depends_on: {db: {condition: service_started}}}, db: {image: y}}",
    "labels and capabilities": "services: {app: {image: x, labels: ['kap.role=sidecar', 'a=b'], cap_add: [SYS_PTRACE], cap_drop: [ALL]}}",
    "build": "services: {app: {build: {context: ., args: {A: b}}}}",
    "profiles": "services: {app: {image: x}, later: {image: y, profiles: [debug], network_mode: host}}",
    "anchors and extensions": "x-base: &base {image: x, networks: [n]}\nservices: {app: {<<: *base}, two: {<<: *base}}\nnetworks: {n: }",
    "our own network names": f"services: {{app: {{image: x, networks: [{INTERNAL}]}}}}\n"
    f"networks: {{{INTERNAL}: {{external: true, name: bridge}}, {EXTERNAL}: {{external: true, name: host}}}}",
    "the default network is somebody else's": "services: {app: {image: x}}\nnetworks: {default: {external: true, name: corp}}",
    "names with signs": "services: {app: {image: x}, my.service_2-b: {image: y}}",
    "volumes": "services: {app: {image: x, volumes: ['.:/w', 'data:/d', {type: tmpfs, target: /t}]}}\nvolumes: {data: }",
}


@pytest.fixture(scope="module", autouse=True)
def engine_programs(lab: Lab) -> Iterator[None]:
    """Compose is found on PATH by the code under test."""
    kept = dict(os.environ)
    os.environ.update(PATH=lab.env["PATH"], DOCKER_CONFIG=lab.env["DOCKER_CONFIG"], DOCKER_HOST=lab.env["DOCKER_HOST"])
    yield
    os.environ.clear()
    os.environ.update(kept)


def write(directory: Path, text: str) -> Path:
    path = directory / "compose.yml"
    path.write_text(text)
    return path


def plan(services: dict[str, str], **options: Any) -> overlay.Plan:
    return overlay.Plan("some-project", "app", services, NETWORK, **options)


def merged(path: Path) -> dict[str, Any]:
    model = compose.resolve([path])
    modes = {name: str(s.get("network_mode", "")) for name, s in model.services.items()}
    over = path.with_name("kap.overlay.yml")
    over.write_text(overlay.dump(overlay.build(plan(modes))))
    argv = ["docker", "compose", "--profile", "*", "-f", path, "-f", over, "config", "--format", "json"]
    return json.loads(run(*argv, env=dict(os.environ)).stdout)  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", VARIANTS)
def test_compose_accepts_the_overlay_and_every_service_is_inside(tmp_path: Path, name: str) -> None:
    model = merged(write(tmp_path, VARIANTS[name]))
    for service, what in model["services"].items():
        if service == SIDECAR:
            continue
        assert not what.get("ports"), service
        assert {"NET_ADMIN", "NET_RAW"} <= set(what["cap_drop"]) | (
            {"NET_ADMIN", "NET_RAW"} if "ALL" in what["cap_drop"] else set()
        )
        assert what["environment"]["HTTP_PROXY"] == what["environment"]["https_proxy"] == "http://10.213.4.2:3128"
        assert "*" not in what["environment"]["no_proxy"].split(",")
        assert what["labels"]["kap.role"] in ("app", "service")
        assert what["depends_on"][SIDECAR]["condition"] == "service_healthy"
        if str(what.get("network_mode", "")).startswith("service:"):
            assert "networks" not in what
            continue
        assert what.get("network_mode") is None
        assert list(what["networks"]) == [INTERNAL]
        assert what["dns"] in (["10.213.4.2"], "10.213.4.2")
    internal, external = model["networks"][INTERNAL], model["networks"][EXTERNAL]
    assert (internal["internal"], internal.get("external", False), external.get("external", False)) == (
        True,
        False,
        False,
    )
    assert internal["driver_opts"] == {"com.docker.network.bridge.inhibit_ipv4": "true"}
    sidecar = model["services"][SIDECAR]
    assert (sidecar["read_only"], sidecar["cap_drop"], "cap_add" in sidecar, "privileged" in sidecar) == (
        True,
        ["ALL"],
        False,
        False,
    )
    assert set(sidecar["networks"]) == {INTERNAL, EXTERNAL}


def test_a_service_of_the_sidecars_name_does_not_become_the_sidecar(tmp_path: Path) -> None:
    model = merged(
        write(
            tmp_path,
            f"services: {{app: {{image: x}}, {SIDECAR}: {{image: evil, privileged: true, volumes: ['/:/host']}}}}",
        )
    )
    sidecar = model["services"][SIDECAR]
    assert (sidecar["image"], "privileged" in sidecar) == (overlay.IMAGE, False)
    assert {v["target"] for v in sidecar["volumes"]} == {"/etc/kap", "/var/log/kap"}


def test_a_dollar_sign_in_a_path_is_no_variable(tmp_path: Path) -> None:
    path = write(tmp_path, VARIANTS["one service"])
    over = overlay.dump(overlay.build(plan({"app": ""}, home=overlay.literal(Path("/srv/$HOME/${X}/.kap")))))  # type: ignore[arg-type]
    model = compose.resolve([path], text=over)
    assert {v["source"] for v in model.services[SIDECAR]["volumes"]} == {
        "/srv/$HOME/${X}/.kap/capsules/some-project/policy",
        "/srv/$HOME/${X}/.kap/capsules/some-project/sidecar",
    }


def test_a_file_of_variables_in_the_workspace_cannot_move_the_policy(tmp_path: Path) -> None:
    path = write(tmp_path, VARIANTS["one service"])
    (tmp_path / ".env").write_text("HOME=/workspace\nKAP_HOME=/workspace\n")
    model = compose.resolve([path], text=overlay.dump(overlay.build(plan({"app": ""}))))
    assert all(v["source"].startswith(os.environ["HOME"]) for v in model.services[SIDECAR]["volumes"])


@pytest.mark.parametrize(
    "text",
    [
        "services: [",
        "services: {app: 7}",
        "",
        "services: {}",
        "services: {app: {image: x, network: y}}",
        "\0",
        "- a\n- b",
    ],
)
def test_a_broken_compose_file_is_an_error_with_its_place(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    try:
        assert compose.resolve([path]).services == {}
    except ConfigError as error:
        assert str(path) in error.message
        assert error.hint


def test_without_docker_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(BackendError, match="docker command was not found"):
        compose.resolve([write(tmp_path, VARIANTS["one service"])])


def test_the_hostile_project_is_refused_and_every_way_out_named() -> None:
    from lab.engine import REPO

    model = compose.resolve([REPO / "test-projects" / "hostile" / ".devcontainer" / "compose.yml"])
    found = escapes.find(model, [Path(os.environ["HOME"]) / ".kap"])
    assert {(e.service, e.code) for e in found} >= {
        ("app", "gate.privileged"),
        ("app", "gate.host-namespace"),
        ("app", "gate.capabilities"),
        ("app", "gate.device"),
        ("app", "gate.engine-socket"),
        ("app", "gate.host-mount"),
        ("behind-a-profile", "gate.host-namespace"),
        ("behind-a-profile", "gate.second-network"),
        (SIDECAR, "gate.sidecar-name"),
        ("", "gate.host-mount"),
    }
    assert sum(e.code == "gate.capabilities" for e in found) == 2
    assert sum(e.code == "gate.host-mount" and e.service == "" for e in found) == 2
    assert all(e.what and e.fix for e in found)
