"""The policy in force follows the files, and the last good one outlives everything that happens to them. No test here waits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kap.audit.event import Event
from kap.policy.compiler import Policy
from kap.policy.live import Live
from kap.sidecar.reload import Reloader
from kap.sidecar.source import PolicySource

A = '[proxy.network]\nallow = ["a.example.com"]\n'
B = '[proxy.network]\nallow = ["b.example.com", "c.example.com"]\n'


class Rig:
    """A reloader over one file. `during`: what happens in the next sleeps; `naps`: how long they were."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "kap.toml"
        self.global_file = folder / "global.toml"
        self.live = Live()
        self.events: list[Event] = []
        self.applied: list[str] = []
        self.cut: int | Exception = 0
        self.changes = 0
        self.naps: list[float] = []
        self.during: list[Callable[[], object]] = []
        self.source = PolicySource(folder, self.global_file)
        self.reloader = Reloader(self.source, self.live, self, apply=self.apply, changed=self.changed, sleep=self.sleep)

    def record(self, event: Event) -> None:
        self.events.append(event)

    def apply(self, policy: Policy) -> int:
        self.applied.append(policy.digest)
        if isinstance(self.cut, Exception):
            raise self.cut
        return self.cut

    def changed(self) -> None:
        self.changes += 1

    async def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        if self.during:
            self.during.pop(0)()

    @property
    def codes(self) -> list[str]:
        return [event.code for event in self.events]

    @property
    def hosts(self) -> list[str]:
        policy = self.live.policy
        return [] if policy is None else [rule.text for rule in policy.config.rules if rule.layer != "builtin"]


@pytest.fixture
async def rig(tmp_path: Path) -> Rig:
    rig = Rig(tmp_path)
    rig.file.write_text(A)
    assert await rig.reloader.look()
    return rig


async def test_the_first_look_puts_in_force_without_waiting(rig: Rig) -> None:
    assert rig.hosts == ["a.example.com"] and rig.naps == []
    assert rig.codes == ["sidecar.policy-loaded"] and rig.events[0].detail == "1 rule"
    assert rig.live.policy is not None and rig.events[0].policy == rig.live.policy.digest[:12]
    assert (rig.reloader.state.rules, rig.reloader.state.loads, rig.changes) == (1, 1, 1)


async def test_no_file_is_no_policy_until_there_is_one(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    await rig.reloader.look()
    assert rig.live.policy is None and rig.codes == ["sidecar.reload-failed"]
    assert not await rig.reloader.look()
    rig.file.write_text(A)
    await rig.reloader.look()
    assert rig.hosts == ["a.example.com"] and rig.reloader.state.error == ""


async def test_nothing_changed_is_nothing_done(rig: Rig) -> None:
    before = rig.live.policy
    assert not await rig.reloader.look()
    assert rig.live.policy is before and len(rig.events) == 1


async def test_a_change_is_put_in_force_once_it_has_settled(rig: Rig) -> None:
    rig.cut = 3
    rig.file.write_text(B)
    assert await rig.reloader.look()
    assert rig.hosts == ["b.example.com", "c.example.com"]
    assert rig.events[-1].detail == "2 rules, 3 connections cut"
    assert rig.naps == [0.1]


async def test_a_half_written_file_is_waited_for(rig: Rig) -> None:
    rig.file.write_text(B[:30])
    rig.during = [lambda: rig.file.write_text(B[:40]), lambda: rig.file.write_text(B)]
    await rig.reloader.look()
    assert rig.codes == ["sidecar.policy-loaded"] * 2
    assert rig.hosts == ["b.example.com", "c.example.com"]


async def test_an_emptied_file_is_given_a_second(rig: Rig) -> None:
    rig.file.write_text("")
    rig.during = [lambda: None] * 5 + [lambda: rig.file.write_text(B)]
    await rig.reloader.look()
    assert rig.codes == ["sidecar.policy-loaded"] * 2
    assert rig.hosts == ["b.example.com", "c.example.com"]


async def test_a_file_that_stays_empty_allows_nothing(rig: Rig) -> None:
    rig.file.write_text("")
    await rig.reloader.look()
    assert rig.hosts == [] and rig.live.policy is not None
    assert sum(rig.naps) >= 1.0


async def test_a_file_that_never_settles_is_taken_as_it_is_in_the_end(rig: Rig) -> None:
    count = 0

    def scribble() -> None:
        nonlocal count
        count += 1
        rig.file.write_text(B + f"# {count}\n")

    scribble()
    rig.during = [scribble] * 1000
    await rig.reloader.look()
    assert sum(rig.naps) < 3
    assert rig.hosts == ["b.example.com", "c.example.com"]


async def test_a_change_while_it_is_read_is_not_taken(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    real = rig.source.load

    def load() -> object:
        found = real()
        rig.file.write_text(A.replace("a.example", "z.example"))
        return found

    monkeypatch.setattr(rig.source, "load", load)
    rig.file.write_text(B)
    await rig.reloader.look()
    assert rig.hosts == ["a.example.com"]  # what was loaded was already out of date
    monkeypatch.setattr(rig.source, "load", real)
    await rig.reloader.look()
    assert rig.hosts == ["z.example.com"]


async def test_a_broken_file_keeps_the_last_good_policy_and_is_said_once(rig: Rig) -> None:
    before = rig.live.policy
    rig.file.write_text("[nonsense\n")
    for _ in range(3):
        await rig.reloader.look()
    assert rig.live.policy is before
    assert rig.codes == ["sidecar.policy-loaded", "sidecar.reload-failed"]
    assert rig.reloader.state.error.startswith(f"{rig.file}:1:") and rig.reloader.state.error_since > 0
    assert rig.reloader.state.digest == rig.events[-1].policy + rig.reloader.state.digest[12:]


async def test_the_same_error_in_another_file_is_said_once(rig: Rig) -> None:
    for number in range(3):
        rig.file.write_text(f"[nonsense\n# {number}\n")
        assert await rig.reloader.look()
    assert rig.codes == ["sidecar.policy-loaded", "sidecar.reload-failed"]


async def test_broken_and_repaired_to_what_it_was(rig: Rig) -> None:
    rig.file.write_text("[nonsense\n")
    await rig.reloader.look()
    rig.file.write_text(A)
    await rig.reloader.look()
    assert rig.reloader.state.error == "" and rig.reloader.state.loads == 1
    assert rig.codes[-1] == "sidecar.policy-loaded"


async def test_a_vanished_file_keeps_the_last_good_policy_and_is_said_once(rig: Rig) -> None:
    before = rig.live.policy
    rig.file.unlink()
    for _ in range(3):
        await rig.reloader.look()
    assert rig.live.policy is before
    assert rig.codes == ["sidecar.policy-loaded", "sidecar.policy-vanished"]
    rig.file.write_text(B)
    await rig.reloader.look()
    assert rig.hosts == ["b.example.com", "c.example.com"] and rig.reloader.state.error == ""


async def test_a_vanished_global_file_keeps_its_denials(rig: Rig) -> None:
    rig.global_file.write_text('[proxy.network]\ndeny = ["a.example.com"]\n')
    await rig.reloader.look()
    rig.global_file.unlink()
    rig.file.write_text(B)
    await rig.reloader.look()
    assert rig.hosts == ["a.example.com", "a.example.com"]  # the denial, and the allow it wins over
    assert rig.codes[-1] == "sidecar.policy-vanished"


async def test_a_plane_that_fails_to_apply_is_told_again(rig: Rig) -> None:
    rig.file.write_text(B)
    rig.cut = RuntimeError("plane")
    ends = [0]

    async def until_three(seconds: float) -> None:
        ends[0] += 1
        if ends[0] > 6:
            raise KeyboardInterrupt

    rig.reloader._sleep = until_three
    with pytest.raises(KeyboardInterrupt):
        await rig.reloader.run()
    assert rig.hosts == ["b.example.com", "c.example.com"]  # in force for new connections at once
    assert len(rig.applied) >= 3  # the first load, then again and again


async def test_settings_that_change_no_rule_are_applied_too(rig: Rig) -> None:
    rig.file.write_text(A + "[proxy.limits]\nconnections = 10\n")
    await rig.reloader.look()
    assert rig.live.policy is not None and rig.live.policy.config.proxy.limits.connections == 10
    assert len(rig.applied) == 2
