"""Real devcontainer.json files: init, what the devcontainer CLI says to the result, init again, uninit back to the byte."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))

from click.testing import CliRunner, Result
from devcontainer_tree import configs, copy, index, rewritten, tree
from lab.engine import Unavailable
from lab.project import devcontainer_cli

from kap.cli.init import command as init
from kap.cli.uninit import command as uninit
from kap.devcontainer import jsonc_tree, overlay, unsafe, wire
from kap.errors import KapError

EVERY = int(os.environ.get("KAP_SAMPLES_EVERY", "6"))
"""The Node CLI takes about half a second: by default it is asked about every sixth sample; 1 asks about all."""

DRESSES = ["crlf", "tabs", "bare", "bom", "comments", "one-line", "escapes", "commas"]


@pytest.fixture(scope="session")
def cli() -> str:
    """The devcontainer CLI, installed where it is not yet."""
    try:
        return devcontainer_cli()
    except Unavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, and no container engine."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("KAP_HOME", raising=False)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine.sock")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "no-plugins"))
    return tmp_path / "home"


def run(command: object, *arguments: str) -> Result:
    """The command; a `KapError` is its own, anything else that is raised is a bug."""
    result = CliRunner().invoke(command, list(arguments), standalone_mode=False)  # type: ignore[arg-type]
    if result.exception is not None and not isinstance(result.exception, KapError):
        raise result.exception
    return result


def read_configuration(cli: str, place: Path, config: Path) -> dict[str, object]:
    engine = place.with_name("docker-without-containers")  # the CLI asks whether the dev container runs already
    engine.write_text("#!/bin/sh\nexit 0\n")
    engine.chmod(0o755)
    argv = [cli, "read-configuration", "--workspace-folder", place, "--config", config, "--docker-path", engine]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    value: dict[str, object] = json.loads(done.stdout)["configuration"]
    return value


def test_every_sample_goes_in_and_comes_out_again(corpora: Path, tmp_path: Path) -> None:
    bad = []
    samples = [s for s in index(corpora) if s["read_configuration_ok"] and s["kind"] != "invalid"]
    for number, sample in enumerate(samples):
        place = copy(corpora / "devcontainer_samples" / str(sample["id"]), tmp_path / f"{number:03}" / "project")
        try:
            round_trip(place)
        except (AssertionError, KapError) as error:
            bad.append(f"{sample['id']}: {type(error).__name__}: {error}")
        shutil.rmtree(place)
    assert bad == [], "\n".join(bad)


@pytest.mark.timeout(300)
def test_the_devcontainer_cli_accepts_what_init_writes(corpora: Path, tmp_path: Path, cli: str) -> None:
    samples = [s for s in index(corpora) if s["read_configuration_ok"] and s["kind"] != "invalid"][::EVERY]
    for number, sample in enumerate(samples):
        place = copy(corpora / "devcontainer_samples" / str(sample["id"]), tmp_path / f"{number:03}" / "project")
        round_trip(place, cli)
        shutil.rmtree(place)


@pytest.mark.parametrize("how", DRESSES)
def test_every_sample_in_another_dress(corpora: Path, tmp_path: Path, cli: str, how: str) -> None:
    samples = [s for s in index(corpora) if s["read_configuration_ok"] and s["kind"] != "invalid"]
    chosen = samples[DRESSES.index(how) :: len(DRESSES)]
    for number, sample in enumerate(chosen):
        place = copy(corpora / "devcontainer_samples" / str(sample["id"]), tmp_path / f"{number:03}" / "project")
        for config in configs(place):
            config.write_bytes(rewritten(config.read_bytes().decode(), how).encode())
        round_trip(place, cli if number % EVERY == 0 else "")
        shutil.rmtree(place)


def round_trip(place: Path, cli: str = "") -> None:
    before = tree(place)
    first = run(init, "-C", str(place), "--yes")
    assert first.exception is None, str(first.exception)
    assert first.return_value == 0, first.output
    after = tree(place)
    assert after != before
    for config in configs(place):
        value = jsonc_tree.parse(config.read_bytes().decode()).value
        assert_closed(value)
        if cli:
            assert_same_for_the_cli(value, read_configuration(cli, place, config))
    again = run(init, "-C", str(place), "--yes")
    assert "nothing to do" in again.output, again.output
    assert tree(place) == after
    back = run(uninit, "-C", str(place), "--yes")
    assert back.exception is None, str(back.exception)
    assert tree(place) == before


def assert_closed(value: dict[str, object]) -> None:
    """The file joins the capsule, and has nothing left that leads out of it."""
    assert wire.is_wired(value)
    assert unsafe.find(value) == []
    if unsafe.kind(value) == "compose":
        assert str(value["dockerComposeFile"][-1]).endswith("kap.overlay.yml")  # type: ignore[index]
    else:
        arguments = [str(a) for a in value["runArgs"]]  # type: ignore[attr-defined]
        assert sum(a.startswith("--network") for a in arguments) == 1


def assert_same_for_the_cli(value: dict[str, object], seen: dict[str, object]) -> None:
    """The CLI reads from the file what kap reads from it, but for variables and the keys it calls by their new names."""
    for key in ("initializeCommand", "features", "dockerComposeFile", "service", "image"):
        if key in value and "${" not in json.dumps(value[key]):
            assert seen.get(key) == value[key], key
    assert seen.get("initializeCommand") is not None
    assert len(seen.get("runArgs", ())) == len(value.get("runArgs", ()))  # type: ignore[arg-type]


def test_what_is_invalid_is_refused_with_a_message_and_left_alone(corpora: Path, tmp_path: Path) -> None:
    for sample in (s for s in index(corpora) if s["kind"] == "invalid"):
        place = copy(
            corpora / "devcontainer_samples" / str(sample["id"]), tmp_path / str(sample["id"]) / "project", stub=False
        )
        before = tree(place)
        done = run(init, "-C", str(place), "--yes")
        assert isinstance(done.exception, KapError), sample["id"]
        assert str(place) in done.exception.message
        assert done.exception.hint
        assert tree(place) == before


def test_the_overlays_say_what_the_capsule_is(corpora: Path, tmp_path: Path) -> None:
    for number, sample in enumerate(s for s in index(corpora) if s["kind"] == "compose"):
        place = copy(corpora / "devcontainer_samples" / str(sample["id"]), tmp_path / f"{number:03}" / "Some Project")
        run(init, "-C", str(place), "--yes")
        (written,) = place.rglob("kap.overlay.yml")
        name, network = overlay.recorded(written.read_text())
        assert name.startswith("some-project")
        assert network is not None
