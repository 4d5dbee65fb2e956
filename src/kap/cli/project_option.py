"""``-C``, ``--project``, ``--directory``: where a command looks for its project. One option, the same in every command that has it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def project_option(text: str = "The project.", *, default: Path | None = Path()) -> Callable[[Command], Command]:
    """The decorator of a click command that takes `directory`: a path (relative ones from the working directory), `default` where it is
    not given. `text` is its line in ``--help``."""
    return click.option(
        "-C", "--project", "--directory", "directory", type=click.Path(path_type=Path), default=default, help=text
    )
