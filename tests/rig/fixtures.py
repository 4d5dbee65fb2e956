"""Fixtures of more than one folder; a folder's conftest.py names those it takes."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import pytest

from rig.capsule import USERS, Project


@pytest.fixture(params=["plane", "mitmproxy"])
def engine(request: pytest.FixtureRequest) -> str:
    """The data plane, and mitmproxy's layers behind the gate."""
    if request.param == "mitmproxy" and importlib.util.find_spec("mitmproxy") is None:
        pytest.skip("mitmproxy is not installed (it needs Python 3.13)")
    return str(request.param)


@pytest.fixture(params=USERS)
def project(request: pytest.FixtureRequest) -> Iterator[Project]:
    """A project to run capsules in, as the user of the tests and as nobody."""
    made = Project(request.param)
    yield made
    made.remove()


@pytest.fixture
def one() -> Iterator[Project]:
    """The same as the user of the tests alone."""
    made = Project()
    yield made
    made.remove()
