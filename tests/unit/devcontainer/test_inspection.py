"""What the engine says is judged: every way a running capsule can be open is a failed check, and what cannot be seen is not ok."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from kap import __version__
from kap.backend.docker import Container, Mount, Network
from kap.devcontainer import inspection
from kap.devcontainer.inspection import Capsule
from kap.devcontainer.overlay import IMAGE

POLICY = Path("/home/ann/.kap/projects/shop/policy")
GUARDED = (Path("/home/ann/.kap"),)


def container(name: str, **changes: object) -> Container:
    base = Container(
        id=name * 8,
        name=f"shop-{name}-1",
        labels={"com.docker.compose.service": name},
        state="running",
        health="",
        image="debian",
        image_id="sha256:1",
        networks={"shop_kap-internal": "net1"},
        addresses={"shop_kap-internal": "10.213.4.33"},
        network_mode="shop_kap-internal",
        host_namespaces=(),
        privileged=False,
        cap_add=(),
        cap_drop=("NET_ADMIN", "NET_RAW"),
        mounts=(Mount("bind", "/home/ann/shop", "/workspace", False),),
        read_only=False,
        user="",
        dns=("10.213.4.2",),
        pid=1,
    )
    return msgspec.structs.replace(base, **changes)


def sidecar(**changes: object) -> Container:
    fields: dict[str, object] = {
        "labels": {"com.docker.compose.service": "kap-sidecar", "kap.role": "sidecar", "kap.version": __version__},
        "health": "healthy",
        "image": IMAGE,
        "networks": {"shop_kap-internal": "net1", "shop_kap-external": "net2"},
        "addresses": {"shop_kap-internal": "10.213.4.2", "shop_kap-external": "172.18.0.2"},
        "cap_drop": ("ALL",),
        "mounts": (
            Mount("bind", str(POLICY), "/etc/kap", True),
            Mount("bind", str(POLICY.parent / "sidecar"), "/var/log/kap", False),
        ),
        "read_only": True,
        "user": "65532:65532",
        "dns": (),
    }
    return container("side", **{**fields, **changes})


def network(**changes: object) -> Network:
    base = Network("net1", "shop_kap-internal", {}, "bridge", True, False, True, ("10.213.4.0/26",), ())
    return msgspec.structs.replace(base, **changes)


def capsule(
    app: Container | None = None,
    side: tuple[Container, ...] | None = None,
    net: Network | None = None,
    db: Container | None = None,
) -> Capsule:
    return Capsule(
        app or container("app"), (db,) if db else (), (sidecar(),) if side is None else side, {"net1": net or network()}
    )


def bad(found: Capsule) -> set[tuple[str, str, str]]:
    return {(c.subject, c.state, c.code) for c in inspection.inspect(found, GUARDED, POLICY) if c.state != "ok"}


def test_a_closed_capsule_is_ok_in_every_check() -> None:
    checks = inspection.inspect(capsule(db=container("db")), GUARDED, POLICY)
    assert {c.state for c in checks} == {"ok"}
    assert {c.subject for c in checks} == {"sidecar", "app", "db"}
    assert not any(c.fix for c in checks)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"privileged": True}, "gate.privileged"),
        ({"cap_add": ("CAP_SYS_ADMIN",)}, "gate.capabilities"),
        ({"cap_add": ("net_raw",)}, "gate.capabilities"),
        ({"cap_drop": ()}, "gate.capabilities"),
        ({"cap_drop": ("NET_RAW",)}, "gate.capabilities"),
        ({"host_namespaces": ("pid",)}, "gate.host-namespace"),
        ({"mounts": (Mount("bind", "/var/run/docker.sock", "/s", True),)}, "gate.engine-socket"),
        ({"mounts": (Mount("bind", "/home/ann", "/h", True),)}, "gate.host-mount"),
        ({"mounts": (Mount("bind", "/", "/h", True),)}, "gate.host-mount"),
        ({"networks": {"a": "net1", "bridge": "net9"}}, "gate.second-network"),
        ({"networks": {}, "network_mode": "none"}, "gate.second-network"),
        ({"network_mode": "host", "networks": {"host": "net8"}}, "gate.second-network"),
        ({"network_mode": "container:foreign"}, "gate.second-network"),
        ({"dns": ()}, "gate.resolver"),
        ({"dns": ("8.8.8.8",)}, "gate.resolver"),
        ({"dns": ("10.213.4.2", "8.8.8.8")}, "gate.resolver"),
    ],
)
@pytest.mark.parametrize("service", ["app", "db"])
def test_an_open_container_fails_whichever_service_it_is(
    service: str, changes: dict[str, object], expected: str
) -> None:
    one = container(service, **changes)
    found = bad(capsule(app=one) if service == "app" else capsule(db=one))
    assert (service, "failed", expected) in found


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"internal": False}, "gate.network-open"),
        ({"inhibits_host": False}, "gate.host-reachable"),
        ({"ipv6": True}, "gate.ipv6"),
        ({"members": ("f" * 64,)}, "gate.second-network"),
    ],
)
def test_an_open_network_fails(changes: dict[str, object], expected: str) -> None:
    assert ("app", "failed", expected) in bad(capsule(net=network(**changes)))


@pytest.mark.parametrize(
    ("changes", "state", "expected"),
    [
        ({"state": "exited"}, "failed", "gate.no-sidecar"),
        ({"health": "unhealthy"}, "failed", "gate.sidecar-health"),
        ({"health": "starting"}, "unknown", "gate.sidecar-health"),
        ({"health": ""}, "unknown", "gate.sidecar-health"),
        ({"image": "evil:1"}, "failed", "gate.not-sidecar"),
        (
            {"labels": {"com.docker.compose.service": "kap-sidecar", "kap.role": "sidecar"}},
            "failed",
            "gate.sidecar-version",
        ),
        ({"read_only": False}, "failed", "gate.sidecar-confined"),
        ({"cap_drop": ()}, "failed", "gate.sidecar-confined"),
        ({"cap_add": ("NET_ADMIN",)}, "failed", "gate.sidecar-confined"),
        ({"user": ""}, "failed", "gate.sidecar-confined"),
        ({"user": "0:0"}, "failed", "gate.sidecar-confined"),
        ({"privileged": True}, "failed", "gate.sidecar-confined"),
        ({"mounts": ()}, "failed", "gate.policy"),
        ({"mounts": (Mount("bind", "/home/ann/shop", "/etc/kap", True),)}, "failed", "gate.policy"),
        ({"mounts": (Mount("bind", str(POLICY), "/etc/kap", False),)}, "failed", "gate.policy"),
        ({"mounts": (Mount("volume", str(POLICY), "/etc/kap", True),)}, "failed", "gate.policy"),
    ],
)
def test_a_sidecar_that_is_not_right_is_not_ok(changes: dict[str, object], state: str, expected: str) -> None:
    assert ("sidecar", state, expected) in bad(capsule(side=(sidecar(**changes),)))


@pytest.mark.parametrize("count", [0, 2])
def test_there_is_exactly_one_sidecar(count: int) -> None:
    assert ("sidecar", "failed", "gate.no-sidecar") in bad(capsule(side=tuple(sidecar() for _ in range(count))))


def test_a_port_capability_is_all_a_sidecar_may_have() -> None:
    assert bad(capsule(side=(sidecar(cap_add=("NET_BIND_SERVICE",)),))) == set()


def test_the_network_of_a_sibling_is_the_capsules() -> None:
    db = container("db")
    app = container("app", network_mode=f"container:{db.id}", networks={}, dns=())
    assert bad(capsule(app=app, db=db)) == set()


def test_what_cannot_be_seen_is_unknown() -> None:
    assert ("db", "unknown", "gate.network-open") in bad(capsule(db=container("db", state="exited")))
    found = Capsule(container("app"), (), (sidecar(),), {})
    assert ("app", "unknown", "gate.network-open") in bad(found)


def test_a_label_alone_makes_no_sidecar() -> None:
    assert inspection.is_sidecar(sidecar())
    assert not inspection.is_sidecar(
        container("app", labels={"com.docker.compose.service": "app", "kap.role": "sidecar"})
    )


@pytest.mark.parametrize(
    ("version", "state"),
    [
        ("26.1.5+dfsg1", "ok"),
        ("28.2.2", "ok"),
        ("25.0.5", "ok"),
        ("25.0.4", "failed"),
        ("24.0.9", "failed"),
        ("23.0.11", "ok"),
        ("23.0.10", "failed"),
        ("20.10.24", "failed"),
        ("", "unknown"),
        ("x", "unknown"),
    ],
)
def test_engines_that_leak_names_are_found(version: str, state: str) -> None:
    assert inspection.engine(version).state == state


def test_the_gates_lines_are_read_and_anything_else_is_unknown() -> None:
    found = inspection.gate_lines(
        "ok\tgate.ipv6\tno IPv6 address\nfailed\tgate.direct-route\topen: 1.1.1.1:443\n", "inside"
    )
    assert [(c.state, c.code, bool(c.fix)) for c in found] == [
        ("ok", "gate.ipv6", False),
        ("failed", "gate.direct-route", True),
    ]


@pytest.mark.parametrize(
    "output",
    [
        "hello\n",
        "ok\tgate.ipv6\n",
        "fine\tgate.ipv6\tx\n",
        "ok\tegress.allowed\tx\n",
        "ok\tgate.ipv6\tx\textra\n",
        "ok\tgate.ipv6\tx\n\x1b[2J\n",
        "\n",
    ],
)
def test_a_gate_that_says_anything_else_is_not_believed(output: str) -> None:
    (check,) = inspection.gate_lines(output, "inside")
    assert (check.state, check.code) == ("unknown", "gate.unknown")
