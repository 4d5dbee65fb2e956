"""Other people's mitmproxy addons, loaded from the files the machine's owner named with ``--addon``.

An addon runs inside the sidecar and sees what passes through the ``gate`` listener in the clear. So it is code its owner trusts, and
never a file a project brings along: what lies in the folder of the policy is refused.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from kap.errors import KapError, UsageError

_FORM = "an addon script ends with: addons = [MyAddon()]"


def load_addons(paths: Sequence[Path], policy: Path) -> list[object]:
    """The objects in ``addons`` of each script, in order. `policy`: the kap.toml or its folder. Raises `UsageError` for a file that may
    not be loaded, `KapError` for one that fails to."""
    folder = (policy if policy.is_dir() else policy.parent).resolve()
    found: list[object] = []
    for number, path in enumerate(paths):
        place = path.resolve()
        if place.is_relative_to(folder):
            raise UsageError(
                f"--addon {path}: it lies in the folder of the policy ({folder}), where a project can write",
                "an addon is the machine owner's: put it elsewhere, into the image of the sidecar for instance",
            )
        if not place.is_file():
            raise UsageError(f"--addon {path}: there is no such file", "give the path of a Python file")
        addons = getattr(_execute(place, f"kap_addon_{number}"), "addons", None)
        if not isinstance(addons, list | tuple) or not addons:
            raise UsageError(f"--addon {path}: it defines no addons", _FORM)
        found += addons
    return found


def _execute(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"--addon {path}: it is no Python file", "give the path of a file that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # as an import does: dataclasses and pickles of the addon look their module up
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise KapError(
            f"the addon {path} failed to load: {type(error).__name__}: {error}", "correct the script, or leave it out"
        ) from error
    return module
