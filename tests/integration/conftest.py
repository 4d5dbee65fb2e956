"""The rig's fixtures this folder takes."""

from __future__ import annotations

from rig.fixtures import one as one
from rig.fixtures import project as project
