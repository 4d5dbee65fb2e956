"""Parsers and choosers of the dev container room, under anything at all: total, or one kind of error."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kap.backend import docker
from kap.devcontainer import escapes, identity, inspection, jsonc, overlay, subnets
from kap.devcontainer.compose import Project
from kap.devcontainer.overlay import INTERNAL, Override, Plan
from kap.errors import KapError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
PREFIXES = st.integers(8, 30)
NETWORKS = st.builds(
    lambda number, prefix: subnets.Network((number, prefix), strict=False), st.integers(0, 2**32 - 1), PREFIXES
)


@given(JSON)
def test_json_is_json_with_comments(value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False)
    assert jsonc.loads(text) == value
    assert jsonc.loads(f"// a\n/* b */ {text} // c") == value


@given(st.text(alphabet='{}[],:"/*\\ \n1a', max_size=40))
def test_any_text_is_a_value_or_a_value_error(text: str) -> None:
    try:
        jsonc.loads(text)
    except ValueError as error:
        assert str(error)


@given(st.text(min_size=1, max_size=60), st.lists(NETWORKS, max_size=12), st.integers(1, 80))
@settings(max_examples=60, deadline=None)
def test_a_chosen_range_is_free_private_and_the_same_again(
    name: str, taken: list[subnets.Network], services: int
) -> None:
    try:
        chosen = subnets.choose(name, taken, services=services)
    except KapError as error:
        assert error.hint
        return
    assert not any(chosen.overlaps(other) for other in taken)
    assert chosen.is_private
    assert subnets.choose(name, taken, services=services) == chosen
    assert subnets.choose(name, taken, services=services, current=chosen) == chosen
    address = ipaddress.ip_address(subnets.sidecar_address(chosen))
    assert address in chosen
    assert address not in subnets.service_range(chosen)


@given(st.text(max_size=80))
def test_any_directory_name_becomes_a_safe_one(name: str) -> None:
    assert identity.is_name(identity.slug(name))


@given(st.text(max_size=200))
def test_any_text_as_an_overlay_or_a_routing_table_or_a_gates_answer(text: str) -> None:
    overlay.recorded(text)
    for check in inspection.gate_lines(text, "inside"):
        assert check.state in ("ok", "failed", "unknown")
        assert (check.state == "ok") == (not check.fix)


@given(st.dictionaries(st.text(), JSON, max_size=6))
def test_any_inspection_is_read(raw: dict[str, Any]) -> None:
    docker.network({**raw, "Internal": raw.get("x", False)})
    docker.container(raw)


KEYS = st.sampled_from(
    "privileged pid ipc uts cgroup network_mode cap_add devices volumes_from use_api_socket post_start volumes env_file".split()  # noqa: SIM905
)


@given(st.dictionaries(KEYS, JSON, max_size=5), st.dictionaries(st.text(max_size=3), JSON, max_size=3))
def test_any_model_is_judged(service: dict[str, Any], volumes: dict[str, Any]) -> None:
    for found in escapes.find(Project(Path("/p"), (), {"app": service}, volumes), [Path("/home/ann/.kap")]):
        assert found.code.startswith("gate.")
        assert found.fix


NAMES = st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,8}", fullmatch=True).filter(lambda name: name != overlay.SIDECAR)


@given(st.dictionaries(NAMES, st.sampled_from(["", "host", "none", "bridge", "service:db"]), min_size=1, max_size=5))
@settings(max_examples=40, deadline=None)
def test_whatever_the_services_none_is_left_on_another_network(services: dict[str, str]) -> None:
    network = subnets.Network("10.213.4.0/26")
    built = overlay.build(Plan("shop", next(iter(services)), services, network))
    for name, mode in services.items():
        part = built["services"][name]
        if mode.startswith("service:"):
            assert "networks" not in part
        else:
            assert part["networks"] == Override({INTERNAL: {}})
    assert overlay.recorded(overlay.dump(built)) == ("shop", network)
