"""The Feature as people get it: packaged, published to a registry, and consumed from there by its reference."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from lab.engine import REPO, Lab, run
from lab.project import DevContainer

VERSION = json.loads((REPO / "features" / "src" / "kap" / "devcontainer-feature.json").read_text())["version"]


def test_packaged_published_and_consumed_from_a_registry(
    lab: Lab, cli: str, project: Callable[..., DevContainer], tmp_path: Path
) -> None:
    if shutil.which("docker-registry", path=lab.env["PATH"]) is None:
        pytest.skip("this machine's package sources have no docker-registry")
    store = tmp_path / "registry"
    config = tmp_path / "registry.yml"
    config.write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {store}}}}}\nhttp: {{addr: 127.0.0.1:5000}}\n"
    )
    on_host = ["ip", "netns", "exec", lab.name]
    # The CLI speaks plain HTTP to a registry that is called exactly "localhost".
    with lab.on_host(["docker-registry", "serve", str(config)], "registry"):
        lab.wait_for(
            lambda: run(*on_host, "curl", "-sf", "http://localhost:5000/v2/", check=False).returncode == 0,
            "the registry to answer",
        )
        packages = tmp_path / "packages"
        run(*on_host, cli, "features", "package", REPO / "features" / "src", "--output-folder", packages, env=lab.env)
        with tarfile.open(packages / "devcontainer-feature-kap.tgz") as archive:
            names = {Path(m.name).name for m in archive.getmembers() if m.isfile()}
        assert names >= {"devcontainer-feature.json", "install.sh", "gate.sh", "entrypoint.sh", "hook.sh"}
        published = run(
            *on_host,
            cli,
            "features",
            "publish",
            REPO / "features" / "src",
            "--registry",
            "localhost:5000",
            "--namespace",
            "kap/features",
            env=lab.env,
        )
        assert VERSION in published.stdout, published.stderr

        container = project()
        (container.directory / ".devcontainer" / "kap" / "install.sh").unlink()  # nothing local can stand in for it
        container.edit(container.config, ('"./kap"', f'"localhost:5000/kap/features/kap:{VERSION}"'))
        assert container.kap("overlay").returncode == 0
        started = container.up()
        assert started.returncode == 0, started.stdout + started.stderr
        assert "kap: isolated" in started.stdout + started.stderr
        lock = json.loads((container.directory / ".devcontainer" / "devcontainer-lock.json").read_text())
        (locked,) = lock["features"].values()
        assert locked["resolved"].startswith("localhost:5000/kap/features/kap@sha256:")
    assert container.sh("curl -sS -m 10 http://www.example.com/published").stdout.startswith("fake-internet")
    done = container.kap("status")
    assert done.returncode == 0, done.stdout
