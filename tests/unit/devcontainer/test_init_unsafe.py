"""What cannot survive isolation is found in whatever form it is written, and nothing else is."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

import pytest

from kap.devcontainer import run_args, unsafe
from kap.devcontainer.subnets import Network

IMAGE = {"image": "debian:12"}


def found(**keys: Any) -> list[tuple[str, tuple[Any, ...]]]:
    return [(f.code, f.cuts) for f in unsafe.find({**IMAGE, **keys}, (PurePosixPath("/home/me/.kap"),))]


@pytest.mark.parametrize(
    ("arguments", "code", "cut"),
    [
        (["--privileged"], "gate.privileged", [0]),
        (["--privileged=true"], "gate.privileged", [0]),
        (["--network=host"], "gate.second-network", [0]),
        (["--network", "host"], "gate.second-network", [0, 1]),
        (["--net", "bridge"], "gate.second-network", [0, 1]),
        (["--net=none"], "gate.second-network", [0]),
        (["--pid=host"], "gate.host-namespace", [0]),
        (["--ipc", "container:db"], "gate.host-namespace", [0, 1]),
        (["--userns=host"], "gate.host-namespace", [0]),
        (["--cap-add=NET_ADMIN"], "gate.capabilities", [0]),
        (["--cap-add", "cap_net_raw"], "gate.capabilities", [0, 1]),
        (["--cap-add=all"], "gate.capabilities", [0]),
        (["-v", "/var/run/docker.sock:/var/run/docker.sock"], "gate.engine-socket", [0, 1]),
        (["-v/var/run/docker.sock:/x"], "gate.engine-socket", [0]),
        (["-itv", "/var/run/docker.sock:/x"], "gate.engine-socket", [0, 1]),
        (["--volume=/:/host:ro"], "gate.host-mount", [0]),
        (["--volume=/home/me:/h"], "gate.host-mount", [0]),
        (["--mount", "type=bind,src=/run/docker.sock,dst=/x"], "gate.engine-socket", [0, 1]),
        (["--mount=type=bind,source=/proc,target=/p"], "gate.host-mount", [0]),
        (["-p", "8080:80"], "gate.host-reachable", [0, 1]),
        (["-p8080:80"], "gate.host-reachable", [0]),
        (["-dP"], "gate.host-reachable", [0]),
        (["--publish-all"], "gate.host-reachable", [0]),
        (["--add-host=host.docker.internal:host-gateway"], "gate.host-reachable", [0]),
        (["--dns", "8.8.8.8"], "gate.resolver", [0, 1]),
        (["--device=/dev/mem"], "gate.device", [0]),
        (["--volumes-from", "other"], "gate.host-mount", [0, 1]),
        (["--link=db"], "gate.second-network", [0]),
        (["--use-api-socket"], "gate.engine-socket", [0]),
        (["-e", "https_proxy=http://proxy.example.com"], "gate.no-sidecar", [0, 1]),
        (["--env=KAP_SIDECAR=10.0.0.1:1"], "gate.no-sidecar", [0]),
        (["--label=kap.project=other"], "gate.second-network", [0]),
        (["debian:12", "--rm"], "gate.unknown", []),
        (["--"], "gate.unknown", []),
    ],
)
def test_an_argument_that_leads_out(arguments: list[str], code: str, cut: list[int]) -> None:
    assert found(runArgs=["--hostname=x", *arguments]) == [(code, tuple(("runArgs", i + 1) for i in cut))]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--cap-add=SYS_PTRACE", "--security-opt", "seccomp=unconfined"],
        ["--init", "-e", "A=--privileged"],
        ["--label", "--network=host"],  # docker takes it for the label's text, so it is one
        ["--env", "-p"],
        ["--privileged=false"],
        ["--name", "mine", "--gpus=all", "--shm-size", "1g"],
        ["-v", "cache:/cache", "-v", "/cache2", "--mount=type=volume,source=x,target=/x"],
        ["--network-alias=web", "-u", "1000", "-w", "/x"],
        ["-v", "${localEnv:HOME}/.aws:/aws:ro"],
        ["--pid=container-limit"],
    ],
)
def test_an_argument_that_does_not(arguments: list[str]) -> None:
    if arguments == ["--pid=container-limit"]:
        arguments = ["--pids-limit=100"]
    assert found(runArgs=arguments) == []


def test_top_level_keys_mounts_and_features() -> None:
    assert found(privileged=True) == [("gate.privileged", (("privileged",),))]
    assert found(privileged=False) == []
    assert found(appPort=[3000]) == [("gate.host-reachable", (("appPort",),))]
    assert found(capAdd=["SYS_PTRACE", "SYS_ADMIN"]) == [("gate.capabilities", (("capAdd", 1),))]
    assert found(containerEnv={"A": "1", "NO_PROXY": "*"}) == [("gate.no-sidecar", (("containerEnv", "NO_PROXY"),))]
    assert found(remoteEnv={"http_proxy": ""}) == []
    socket = "source=/var/run/docker.sock,target=/var/run/docker.sock,type=bind"
    assert found(mounts=["source=x,target=/x,type=volume", socket]) == [("gate.engine-socket", (("mounts", 1),))]
    assert found(mounts=[{"type": "bind", "source": "/", "target": "/h"}]) == [("gate.host-mount", (("mounts", 0),))]
    assert found(mounts=["source=${localEnv:HOME},target=/h,type=bind"]) == [("gate.host-mount", (("mounts", 0),))]
    assert found(workspaceMount="source=/,target=/w,type=bind") == [("gate.host-mount", ())]
    for reference in (
        "ghcr.io/devcontainers/features/docker-in-docker:2",
        "ghcr.io/devcontainers/features/docker-outside-of-docker@sha256:0123",
        "docker-from-docker",
    ):
        ((_, cuts),) = found(features={"ghcr.io/devcontainers/features/node:1": {}, reference: {}})
        assert cuts == (("features", reference),)


def test_nothing_is_said_of_what_kap_wrote() -> None:
    own = run_args.block("x", Network("10.213.0.0/26"), {"/w/.devcontainer": "/p/.devcontainer"})
    assert found(runArgs=own) == []
    assert found(runArgs=[*own, "--network=host"]) == [("gate.second-network", (("runArgs", len(own)),))]
    assert run_args.recorded(own) == ("x", Network("10.213.0.0/26"))
    assert run_args.recorded(["--network=x"]) == ("", None)


def test_what_is_no_list_of_texts_is_refused() -> None:
    assert found(runArgs="--privileged") == [("gate.unknown", ())]
    assert found(runArgs=["--privileged", 3]) == [("gate.unknown", ())]


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        ({"image": "x"}, "image"),
        ({"image": "x", "dockerComposeFile": "c.yml"}, "image"),
        ({"build": {"dockerfile": "D"}}, "dockerfile"),
        ({"dockerFile": "D", "dockerComposeFile": "c.yml"}, "dockerfile"),
        ({"dockerComposeFile": ["c.yml"]}, "compose"),
        ({"build": {}}, ""),
        ({"dockerComposeFile": []}, ""),
        ({}, ""),
    ],
)
def test_the_kind_is_the_one_the_devcontainer_cli_sees(config: dict[str, Any], kind: str) -> None:
    assert unsafe.kind(config) == kind
