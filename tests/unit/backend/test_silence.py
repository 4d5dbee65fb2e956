"""Sentences for what the Docker SDK raises, from the chains it really raises them in and from the innermost error alone."""

from __future__ import annotations

import pytest

from kap.backend import silence


def chained(inner: BaseException) -> BaseException:
    """As the SDK does it: the innermost error in the arguments of one, which is the cause of the next."""
    outer = RuntimeError(f"Error while fetching server API version: {inner!r}")
    outer.__cause__ = RuntimeError("Connection aborted.", inner)
    return outer


@pytest.mark.parametrize(
    ("inner", "text", "remedy"),
    [
        (PermissionError(13, "Permission denied"), "this user may not use it", "usermod -aG docker"),
        (FileNotFoundError(2, "No such file"), "there is no such socket", "start the engine"),
        (ConnectionRefusedError(111, "refused"), "nothing listens there", "start the engine"),
        (ConnectionResetError(104, "reset"), "it ended the connection", "start the engine"),
        (TimeoutError("timed out"), "it did not answer in time", "start the engine"),
        (ValueError("Port out of range"), "that is not an address it can be reached at", "DOCKER_HOST"),
    ],
)
def test_the_innermost_error_is_what_happened(inner: BaseException, text: str, remedy: str) -> None:
    for error in (inner, chained(inner)):
        said, fix = silence.why(error)
        assert said == text
        assert remedy in fix


def test_errors_that_lie_in_one_another_in_a_circle() -> None:
    one = RuntimeError("one")
    one.__context__ = two = RuntimeError(one)
    two.__context__ = one
    assert silence.why(one)[0].startswith("that is not an address")
