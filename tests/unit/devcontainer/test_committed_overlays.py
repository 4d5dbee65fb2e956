"""The overlays in this repository are what kap writes today: complete, so that they hold also where the host half never ran."""

from __future__ import annotations

from pathlib import Path

import pytest

from kap.devcontainer import overlay, subnets
from kap.devcontainer.overlay import Mount, Plan

REPO = Path(__file__).resolve().parents[3]
COMMITTED = {
    "test-projects/compose-with-db/.devcontainer/kap.overlay.yml": Plan(
        "compose-with-db",
        "app",
        {"app": "", "db": ""},
        subnets.choose("compose-with-db", []),
        protected=[Mount(".", "/workspace/.devcontainer")],
    ),
    "features/test/kap/compose_closed/kap.overlay.yml": Plan(
        "feature-test", "app", {"app": ""}, subnets.choose("feature-test", [])
    ),
}


@pytest.mark.parametrize("name", COMMITTED)
def test_a_committed_overlay_is_what_kap_writes(name: str) -> None:
    assert (REPO / name).read_text() == overlay.dump(overlay.build(COMMITTED[name]))


if __name__ == "__main__":  # write them anew
    for name, plan in COMMITTED.items():
        (REPO / name).write_text(overlay.dump(overlay.build(plan)))
