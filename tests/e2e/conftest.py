"""The engine, the images and one running capsule, each made once for all the container tests; skipped, by name, where they cannot be."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from lab import images
from lab.engine import Lab, Unavailable
from lab.project import DevContainer, devcontainer_cli

from kap.devcontainer.overlay import IMAGE


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test of this folder may have to make the engine and the images first."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.docker)
            item.add_marker(pytest.mark.timeout(420))


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A Docker engine of the tests' own, with a fake internet behind it."""
    try:
        with Lab(tmp_path_factory.mktemp("lab")) as running:
            images.base(running)
            yield running
    except Unavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def cli() -> str:
    """The devcontainer CLI."""
    try:
        return devcontainer_cli()
    except Unavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def sidecar_image(lab: Lab) -> str:
    """The sidecar's image, built from this checkout without a network."""
    try:
        return images.sidecar(lab, IMAGE)
    except Unavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def small_image(lab: Lab) -> str:
    """An image with busybox and nothing else."""
    return images.small(lab)


@pytest.fixture
def project(lab: Lab, cli: str, sidecar_image: str, tmp_path: Path) -> Iterator[Callable[..., DevContainer]]:
    """Makes copies of test projects; what they started is gone afterwards."""
    made: list[DevContainer] = []

    def make(name: str = "compose-with-db", image: str = images.BASE) -> DevContainer:
        made.append(DevContainer(lab, cli, name, tmp_path, image))
        return made[-1]

    yield make
    for each in made:
        each.close()
