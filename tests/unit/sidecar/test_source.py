"""What stands at the policy's place, seen by content; whatever it is, loading gives a policy or words."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kap.errors import ConfigError
from kap.policy.compiler import Policy
from kap.sidecar.source import PolicySource, Refusal

GOOD = '[proxy.network]\nallow = ["a.example.com"]\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "kap.toml"
    path.write_text(GOOD)
    return path


def refusal(source: PolicySource) -> str:
    found = source.load()
    assert isinstance(found, Refusal)
    return found.message


def test_a_file_and_the_folder_that_holds_it_load_the_same(file: Path) -> None:
    one, two = PolicySource(file).load(), PolicySource(file.parent).load()
    assert isinstance(one, Policy) and isinstance(two, Policy) and one.digest == two.digest


def test_a_change_of_the_same_size_and_time_is_a_change(file: Path) -> None:
    source = PolicySource(file)
    before, times = source.snapshot(), file.stat()
    file.write_text(GOOD.replace("a.example", "b.example"))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert source.snapshot() != before


def test_a_touch_is_none(file: Path) -> None:
    source = PolicySource(file)
    before = source.snapshot()
    os.utime(file, (1, 1))
    assert source.snapshot() == before


@pytest.mark.parametrize("how", ["unlink", "folder", "latin-1", "huge", "fifo", "link in a circle"])
def test_whatever_stands_there_is_another_content_and_a_refusal(file: Path, how: str) -> None:
    source = PolicySource(file)
    before = source.snapshot()
    file.unlink()
    if how == "folder":
        file.mkdir()
    elif how == "latin-1":
        file.write_bytes(b"# caf\xe9\n")
    elif how == "huge":
        file.write_bytes(b"#" * 2_000_000)
    elif how == "fifo":
        os.mkfifo(file)
    elif how == "link in a circle":
        file.symlink_to(file)
    assert source.snapshot() != before
    assert str(file) in refusal(source)


def test_the_devcontainer_place_counts_and_two_files_are_an_error(file: Path) -> None:
    source = PolicySource(file.parent)
    (file.parent / ".devcontainer").mkdir()
    other = file.parent / ".devcontainer" / "kap.toml"
    before = source.snapshot()
    other.write_text(GOOD)
    assert source.snapshot() != before
    assert "two policies" in refusal(source)
    file.unlink()
    assert source.snapshot().project
    assert isinstance(source.load(), Policy)


def test_the_global_file_is_a_layer_and_may_be_absent(file: Path, tmp_path: Path) -> None:
    path = tmp_path / "global.toml"
    source = PolicySource(file, path)
    assert not source.snapshot().global_
    one = source.load()
    path.write_text('[proxy.network]\ndeny = ["a.example.com"]\n')
    assert source.snapshot().global_
    two = source.load()
    assert isinstance(one, Policy) and isinstance(two, Policy) and one.digest != two.digest


def test_a_global_file_that_was_named_must_be_there(file: Path, tmp_path: Path) -> None:
    assert "global.toml: there is no such file" in refusal(
        PolicySource(file, tmp_path / "global.toml", global_required=True)
    )


def test_a_refusal_names_line_and_column_and_the_hint(file: Path) -> None:
    file.write_text('[proxy.network]\nallow = ["a.example.com"]\n  alow = []\n')
    assert (
        refusal(PolicySource(file)) == f"{file}:3:3: there is no key `alow` in [proxy.network] (did you mean `allow`?)"
    )


def test_a_policy_this_machine_cannot_use_is_refused(file: Path) -> None:
    def check(policy: Policy) -> None:
        raise ConfigError("no credentials")

    assert refusal(PolicySource(file, check=check)) == "no credentials"


def test_a_bug_in_loading_is_a_refusal_too(file: Path) -> None:
    def check(policy: Policy) -> None:
        raise ZeroDivisionError("oops")

    assert "kap failed to load it: ZeroDivisionError: oops" in refusal(PolicySource(file, check=check))


@pytest.mark.parametrize(("text", "blank"), [("", True), (" \n\t\n", True), ("# x\n", False), (GOOD, False)])
def test_blank(file: Path, text: str, blank: bool) -> None:
    file.write_text(text)
    assert PolicySource(file).snapshot().blank is blank
