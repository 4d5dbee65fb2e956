"""The overlay as data and as text: what is replaced, what is taken away, and that reading gives back what was written."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from kap.devcontainer import overlay, subnets
from kap.devcontainer.overlay import INTERNAL, SIDECAR, Mount, Override, Plan, Reset

NETWORK = subnets.Network("10.213.4.0/26")


def plan(**changes: object) -> Plan:
    fields: dict[str, object] = {"capsule": "shop", "app": "app", "services": {"app": "", "db": ""}, "network": NETWORK}
    return Plan(**{**fields, **changes})  # type: ignore[arg-type]


def test_every_service_is_on_the_closed_network_and_on_no_other() -> None:
    built = overlay.build(plan())
    for name in ("app", "db"):
        service = built["services"][name]
        assert service["networks"] == Override({INTERNAL: {}})
        assert service["network_mode"] == service["ports"] == Reset()
        assert service["dns"] == Override(["10.213.4.2"])
        assert service["dns_search"] == Override(["."])
        assert service["cap_drop"] == ["NET_ADMIN", "NET_RAW"]
        assert service["depends_on"] == {SIDECAR: {"condition": "service_healthy"}}


def test_the_closed_network_has_no_route_no_host_and_no_ipv6() -> None:
    internal = overlay.build(plan())["networks"][INTERNAL].value
    assert (internal["internal"], internal["enable_ipv6"]) == (True, False)
    assert internal["driver_opts"] == {"com.docker.network.bridge.inhibit_ipv4": "true"}
    assert internal["ipam"]["config"] == [
        {"subnet": "10.213.4.0/26", "gateway": "10.213.4.1", "ip_range": "10.213.4.32/27"}
    ]


def test_the_sidecar_is_confined_and_replaces_any_service_of_its_name() -> None:
    sidecar = overlay.build(plan())["services"][SIDECAR]
    assert isinstance(sidecar, Override)
    assert sidecar.value["cap_drop"] == ["ALL"]
    assert "cap_add" not in sidecar.value
    assert sidecar.value["read_only"] is True
    assert sidecar.value["user"] == "65532:65532"
    assert sidecar.value["security_opt"] == ["no-new-privileges:true"]
    assert sidecar.value["networks"][INTERNAL] == {"ipv4_address": "10.213.4.2"}
    assert "ports" not in sidecar.value


def test_policy_and_log_come_from_the_host_and_must_be_there() -> None:
    policy, log = overlay.build(plan())["services"][SIDECAR].value["volumes"]
    assert (policy["source"], policy["target"], policy["read_only"]) == (
        "${HOME}/.kap/capsules/shop/policy",
        "/etc/kap",
        True,
    )
    assert (log["source"], log["target"]) == ("${HOME}/.kap/capsules/shop/sidecar", "/var/log/kap")
    assert policy["bind"] == log["bind"] == {"create_host_path": False}


def test_the_app_never_gets_the_policy_or_the_log() -> None:
    built = overlay.build(plan(protected=[Mount(".", "/workspace/.devcontainer")]))
    volumes = built["services"]["app"]["volumes"]
    assert [(v["source"], v["target"], v["read_only"]) for v in volumes] == [(".", "/workspace/.devcontainer", True)]
    assert "volumes" not in built["services"]["db"]


def test_a_service_in_the_network_of_a_sibling_keeps_it() -> None:
    service = overlay.build(plan(services={"app": "service:db", "db": ""}))["services"]["app"]
    assert not {"network_mode", "networks", "dns"} & set(service)
    assert service["cap_drop"] == ["NET_ADMIN", "NET_RAW"]


@pytest.mark.parametrize("mode", ["host", "none", "bridge", "container:other"])
def test_any_other_network_mode_is_taken_away(mode: str) -> None:
    assert overlay.build(plan(services={"app": mode}))["services"]["app"]["network_mode"] == Reset()


def test_siblings_are_reached_without_the_proxy_and_nobody_else() -> None:
    environment = overlay.build(plan())["services"]["app"]["environment"]
    assert environment["NO_PROXY"] == environment["no_proxy"] == "localhost,127.0.0.1,::1,kap-sidecar,app,db"
    assert environment["HTTPS_PROXY"] == environment["http_proxy"] == "http://10.213.4.2:3128"


def test_only_home_is_a_variable() -> None:
    """Compose takes variables from a .env file, which the workspace can write; the shell's HOME goes before it."""
    text = overlay.dump(overlay.build(plan()))
    assert text.count("$") == text.count("${HOME}") == 2


def test_the_text_reads_back_and_is_the_same_every_time() -> None:
    text = overlay.dump(overlay.build(plan()))
    assert text == overlay.dump(overlay.build(plan(services={"db": "", "app": ""})))
    assert overlay.recorded(text) == ("shop", NETWORK)
    assert text.startswith("# Written by kap")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a: [",
        "x-kap: 7",
        "- 1",
        "x-kap: {capsule: shop}",
        "x-kap: {capsule: [1], network: 10.0.0.1/8}",
        "a: !!python/object:os.system {}",
        "\0",
    ],
)
def test_a_file_that_is_no_overlay_says_nothing(text: str) -> None:
    assert overlay.recorded(text)[1] is None


def test_a_path_with_a_dollar_sign_is_no_variable() -> None:
    assert overlay.literal(PurePosixPath("/srv/$HOME")) == "/srv/$$HOME"
