"""Finding the command as the capsule sees it."""

from __future__ import annotations

from pathlib import Path

import pytest

from kap.errors import UsageError
from kap.host.command import locate, visible_path
from kap.sandbox.etc import Person
from kap.sandbox.filesystem import Found


@pytest.fixture
def found(tmp_path: Path) -> Found:
    (tmp_path / "w" / "bin").mkdir(parents=True)
    (tmp_path / "home" / "bin").mkdir(parents=True)
    root = str(tmp_path.resolve())
    return Found(
        person=Person(1, 1, "a", "a", f"{root}/home"),
        workspace=f"{root}/w",
        trees=("/usr",),
        links=(),
        etc=(),
        governs=(),
        private=(f"{root}/home",),
    )


def program(path: Path, text: str = "#!/usr/bin/env sh\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_on_the_system_path(found: Found) -> None:
    assert locate("env", found, (), "/") in ("/usr/bin/env", "/usr/local/bin/env")


def test_in_the_workspace(found: Found) -> None:
    program(Path(found.workspace, "bin", "tool"))
    assert locate("bin/tool", found, (), found.workspace) == f"{found.workspace}/bin/tool"
    assert locate("./tool", found, (), f"{found.workspace}/bin") == f"{found.workspace}/bin/tool"
    assert locate("tool", found, (f"{found.workspace}/bin",), "/") == f"{found.workspace}/bin/tool"


def test_a_path_the_capsule_does_not_see_is_left_out(found: Found) -> None:
    home = f"{found.person.home}/bin"
    assert visible_path(found, f"{home}:/usr/bin:relative::{found.workspace}/bin:/missing") == (
        "/usr/bin",
        f"{found.workspace}/bin",
    )


def test_a_tool_in_the_home_is_explained(found: Found, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = program(Path(found.person.home, "tools", "v1", "bin", "agent"))
    monkeypatch.setenv("PATH", f"{tool.parent}:/usr/bin")
    with pytest.raises(UsageError) as caught:
        locate("agent", found, (), "/")
    assert caught.value.exit_code == 127
    assert f"--ro {found.person.home}/tools/v1 -- agent" in caught.value.hint


def test_an_interpreter_in_the_home_is_explained(found: Found) -> None:
    python = program(Path(found.person.home, "py", "bin", "python3"))
    script = program(Path(found.workspace, "bin", "tool"), f"#!{python}\n")
    with pytest.raises(UsageError, match="does not see") as caught:
        locate(str(script), found, (), "/")
    assert f"--ro {found.person.home}/py " in caught.value.hint


def test_a_link_out_of_the_workspace_is_explained(found: Found) -> None:
    """A virtual environment whose Python is a link to one in the home."""
    python = program(Path(found.person.home, "py", "bin", "python3"))
    link = Path(found.workspace, "bin", "python")
    link.symlink_to(python)
    with pytest.raises(UsageError, match="does not see"):
        locate("python", found, (f"{found.workspace}/bin",), "/")


def test_links_in_a_circle(found: Found) -> None:
    (Path(found.workspace) / "a").symlink_to("b")
    (Path(found.workspace) / "b").symlink_to("a")
    with pytest.raises(UsageError):
        locate("./a", found, (), found.workspace)


def test_not_executable_and_not_there(found: Found) -> None:
    Path(found.workspace, "data").write_text("")
    with pytest.raises(UsageError, match="cannot be executed") as caught:
        locate("./data", found, (), found.workspace)
    assert caught.value.exit_code == 126
    for name in ("./missing", "no-such-program-anywhere"):
        with pytest.raises(UsageError, match="not found") as caught:
            locate(name, found, (), found.workspace)
        assert caught.value.exit_code == 127


def test_what_is_shown_is_seen(found: Found) -> None:
    import msgspec

    tool = program(Path(found.person.home, "tools", "bin", "agent"))
    shown = msgspec.structs.replace(found, read_only=(f"{found.person.home}/tools",))
    assert locate("agent", shown, (str(tool.parent),), "/") == str(tool)


def test_a_hidden_link_to_a_shown_program(found: Found, monkeypatch: pytest.MonkeyPatch) -> None:
    """As installers do it: ~/.local/bin/agent is a link to ~/.local/share/agent/1.2.3."""
    import msgspec

    tool = program(Path(found.person.home, ".local", "share", "agent", "1.2.3"))
    link = Path(found.person.home, ".local", "bin", "agent")
    link.parent.mkdir()
    link.symlink_to(tool)
    monkeypatch.setenv("PATH", f"{link.parent}:/usr/bin")
    with pytest.raises(UsageError) as caught:
        locate("agent", found, (), "/")
    assert f"--ro {tool} -- agent" in caught.value.hint
    shown = msgspec.structs.replace(found, read_only=(str(tool),))
    assert locate("agent", shown, (), "/") == str(tool)
