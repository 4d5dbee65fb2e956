"""`kap init` and `kap uninit` on real directories: all three kinds, every variant, and everything that can be in the way."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from kap.cli.init import command as init
from kap.cli.uninit import command as uninit
from kap.config.layers import load
from kap.devcontainer import init_files, jsonc_tree, overlay, snapshot, wire
from kap.devcontainer.init_files import Change
from kap.errors import KapError
from kap.host.state import project_state

COMPOSE = "services:\n  app:\n    image: debian:12\n    volumes: ['..:/workspace']\n  db:\n    image: debian:12\n"
CONFIG = '{\n\t// the image\n\t"image": "debian:12", /* pinned */\n\t"name": "Ünïcode 😀",\n}\n'


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("KAP_HOME", raising=False)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine.sock")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "no-plugins"))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    path = tmp_path / "project"
    (path / ".devcontainer").mkdir(parents=True)
    (path / ".devcontainer" / "devcontainer.json").write_text(CONFIG)
    return path


def run(command: object, project: Path, *arguments: str, said: str = "") -> Result:
    result = CliRunner().invoke(command, ["-C", str(project), *arguments], input=said, standalone_mode=False)  # type: ignore[arg-type]
    if result.exception is not None and not isinstance(result.exception, KapError):
        raise result.exception
    return result


def refused(result: Result) -> KapError:
    assert isinstance(result.exception, KapError), result.output
    return result.exception


def config(project: Path, name: str = ".devcontainer/devcontainer.json") -> dict[str, object]:
    value: dict[str, object] = jsonc_tree.parse((project / name).read_bytes().decode()).value
    return value


def tree(place: Path) -> dict[str, bytes]:
    return {str(p.relative_to(place)): p.read_bytes() if p.is_file() else b"" for p in sorted(place.rglob("*"))}


# --- The three kinds, and where they are ------------------------------------------------------------------------------------


def test_an_image_joins_the_capsule(project: Path) -> None:
    before = (project / ".devcontainer" / "devcontainer.json").read_bytes()
    assert run(init, project, "--yes").return_value == 0
    value = config(project)
    assert value["initializeCommand"] == ["kap", "overlay", "--refresh", "-C", "${localWorkspaceFolder}"]
    assert value["features"] == {wire.FEATURE: {}}
    arguments = value["runArgs"]
    assert isinstance(arguments, list)
    assert {"--network=kap-project", "--cap-drop=NET_RAW", "--cap-drop=NET_ADMIN", "--dns-search=."} <= set(arguments)
    assert any("/.devcontainer,readonly" in str(a) for a in arguments)
    after = (project / ".devcontainer" / "devcontainer.json").read_text()
    assert "// the image" in after and "/* pinned */" in after and "Ünïcode 😀" in after
    assert load(project / "kap.toml", global_path=None).config is not None
    run(uninit, project, "--yes")
    assert (project / ".devcontainer" / "devcontainer.json").read_bytes() == before


def test_compose_gets_its_overlay(project: Path) -> None:
    (project / ".devcontainer" / "compose.yml").write_text(COMPOSE)
    (project / ".devcontainer" / "devcontainer.json").write_text(
        '{"dockerComposeFile": "compose.yml", "service": "app"}'
    )
    before = tree(project)
    assert run(init, project, "--yes").return_value == 0
    assert config(project)["dockerComposeFile"] == ["compose.yml", "kap.overlay.yml"]
    text = (project / ".devcontainer" / "kap.overlay.yml").read_text()
    assert overlay.recorded(text)[0] == "project"
    assert "db:" in text
    assert "runArgs" not in config(project)
    run(uninit, project, "--yes")
    assert tree(project) == before


def test_a_root_file_and_a_dockerfile(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / ".devcontainer.json").write_text('{"dockerFile": "Dockerfile"}')
    run(init, project, "--yes")
    value = config(project, ".devcontainer.json")
    assert any("/.devcontainer.json,readonly" in str(a) for a in value["runArgs"])  # type: ignore[attr-defined]
    (project / "compose.yml").write_text(COMPOSE.replace("..:", ".:"))
    (project / ".devcontainer.json").write_text('{"dockerComposeFile": ["compose.yml"], "service": "app"}')
    run(init, project, "--yes")
    assert config(project, ".devcontainer.json")["dockerComposeFile"] == [
        "compose.yml",
        ".devcontainer/kap.overlay.yml",
    ]
    assert (project / ".devcontainer" / "kap.overlay.yml").exists()


def test_a_project_without_a_dev_container_gets_one_and_loses_it_again(tmp_path: Path) -> None:
    project = tmp_path / "new"
    project.mkdir()
    (project / "pyproject.toml").write_text("")
    before = tree(project)
    assert run(init, project, "--yes").return_value == 0
    assert str(config(project)["image"]).startswith("mcr.")
    loaded = load(project / "kap.toml", global_path=None)
    assert loaded.config is not None and loaded.config.presets == ("python",)
    assert "nothing to do" in run(init, project, "--yes").output
    run(uninit, project, "--yes")
    assert tree(project) == before


def test_named_variants_are_chosen(project: Path) -> None:
    (project / ".devcontainer" / "devcontainer.json").unlink()
    for name in ("a", "b"):
        (project / ".devcontainer" / name).mkdir()
        (project / ".devcontainer" / name / "devcontainer.json").write_text(CONFIG)
    before = tree(project)
    error = refused(run(init, project))
    assert "a/devcontainer.json" in error.message and "--config" in error.hint
    run(init, project, "--config", ".devcontainer/b", "--yes")
    assert config(project, ".devcontainer/a/devcontainer.json").get("runArgs") is None
    command = config(project, ".devcontainer/b/devcontainer.json")["initializeCommand"]
    assert isinstance(command, list) and command[-2:] == ["--config", ".devcontainer/b/devcontainer.json"]
    assert run(init, project, "--yes").return_value == 0
    assert config(project, ".devcontainer/a/devcontainer.json").get("runArgs") is not None
    run(uninit, project, "--yes")
    assert tree(project) == before


# --- Asking --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "written"), [("", False), ("n\n", False), ("\n", False), ("y\n", True), ("yes\n", True)]
)
def test_no_answer_is_no(project: Path, said: str, written: bool) -> None:
    before = tree(project)
    done = run(init, project, said=said)
    assert done.return_value == (0 if written else 1)
    assert (tree(project) != before) is written
    assert "+++ b/.devcontainer/devcontainer.json" in done.output


def test_dry_run_and_json_write_nothing(project: Path, tmp_path: Path) -> None:
    before = tree(tmp_path)
    assert "+++ b/kap.toml" in run(init, project, "--dry-run").output
    told = json.loads(run(init, project, "--json").stdout)
    assert told["written"] is False and told["capsule"] == "project" and len(told["files"]) == 2
    assert tree(tmp_path) == before
    assert json.loads(run(init, project, "--json", "--yes").stdout)["written"] is True


def test_named_presets_are_taken_and_unknown_ones_refused(project: Path) -> None:
    assert "no preset" in refused(run(init, project, "--yes", "--preset", "pyton")).message
    run(init, project, "--yes", "--preset", "rust", "--preset", "github")
    loaded = load(project / "kap.toml", global_path=None)
    assert loaded.config is not None and loaded.config.presets == ("rust", "github")


def test_unsafe_keys_are_removed_by_choice_only(project: Path) -> None:
    path = project / ".devcontainer" / "devcontainer.json"
    path.write_text('{"image": "x", "privileged": true, "runArgs": ["--pid=host"]}')
    before = tree(project)
    error = refused(run(init, project, "--refuse-unsafe", "--yes"))
    assert '"privileged"' in error.message and "--pid=host" in error.message and "--remove-unsafe" in error.hint
    assert isinstance(run(init, project, said="n\ny\n").exception, KapError)
    assert tree(project) == before
    assert run(init, project, said="y\ny\n").return_value == 0
    assert "privileged" not in config(project)
    assert "--pid=host" not in config(project)["runArgs"]  # type: ignore[operator]
    run(uninit, project, "--yes")
    assert tree(project) == before


def test_an_existing_policy_is_kept_and_a_broken_one_refused(project: Path) -> None:
    (project / "kap.toml").write_text('# mine\n[proxy.network]\nallow = ["a.example.com"]\n')
    run(init, project, "--yes")
    assert (project / "kap.toml").read_text().startswith("# mine")
    run(uninit, project, "--yes")
    assert (project / "kap.toml").read_text().startswith("# mine")
    (project / "kap.toml").write_text("[proxy.netwrk]\n")
    before = tree(project)
    assert "kap check" in refused(run(init, project, "--yes")).hint
    assert tree(project) == before


# --- Idempotence, and a life after it --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("theirs", ['"make setup"', '["make", "setup"]', '{"a": "make setup"}', '""'])
def test_a_command_of_the_user_is_kept_as_written(project: Path, theirs: str) -> None:
    path = project / ".devcontainer" / "devcontainer.json"
    path.write_text(f'{{\n  "image": "x",\n  "initializeCommand": {theirs} // theirs\n}}\n')
    run(init, project, "--yes")
    text = path.read_text()
    assert theirs == '""' or theirs.strip("{}") in text
    assert "// theirs" in text
    assert "nothing to do: kap is in this project already\n" in run(init, project, "--yes").output
    path.write_text(text + "\n")
    run(uninit, project, "--yes")
    if theirs != '""':
        assert config(project)["initializeCommand"] == json.loads(theirs)


def test_uninit_takes_only_its_own_out_of_what_was_changed_since(project: Path) -> None:
    path = project / ".devcontainer" / "devcontainer.json"
    path.write_text(
        '{\n  // one\n  "image": "x",\n  "privileged": true,\n  "runArgs": ["--hostname=a", "--pid=host"]\n}\n'
    )
    run(init, project, "--yes")
    path.write_text(path.read_text().replace("// one", "// two").replace('"image": "x"', '"image": "y"'))
    (project / "kap.toml").write_text("[proxy.network]\nallow = []\n")
    done = run(uninit, project, "--yes")
    assert "kap.toml was changed since" in done.output
    assert config(project) == {"image": "y", "privileged": True, "runArgs": ["--hostname=a", "--pid=host"]}
    assert "// two" in path.read_text()
    assert "nothing to do" in run(uninit, project, "--yes").output


def test_uninit_without_a_record_takes_out_what_is_recognisable(project: Path, tmp_path: Path) -> None:
    run(init, project, "--yes")
    state = project_state(project).directory
    (state / init_files.RECORD).unlink()
    done = run(uninit, project, "--yes")
    assert "did not run on this machine" in done.output
    assert config(project) == {"image": "debian:12", "name": "Ünïcode 😀"}
    assert (project / "kap.toml").exists()


def test_on_another_machine_it_says_that_the_policy_is_not_accepted(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(init, project, "--yes")
    monkeypatch.setenv("HOME", str(tmp_path / "another"))
    assert "kap overlay" in run(init, project, "--yes").output


def test_uninit_of_a_project_without_kap(project: Path) -> None:
    assert "nothing to do" in run(uninit, project, "--yes").output


# --- In the way --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b"", "1:1"),
        (b'{\n  "image": "x"\n  "name": 1\n}', "3:3"),
        (b'{"image": "x",\n /* no end', "2:2"),
        (b'{"image": "x"} {', "1:16"),
        (b'{"image": "x", "image": "y"}', "1:16"),
        (b'{"image": "x", "features": {"a": {}, "a": {}}}', "1:38"),
        (b"[]", "no object"),
        (b'{"name": "x"}', '"image"'),
        (b'\xff\xfe{\x00"\x00', "UTF-8"),
        (b'{"image": "x", "runArgs": {}}', "runArgs"),
        (b'{"image": "x", "features": []}', "features"),
        (b'{"dockerComposeFile": "none.yml", "service": "a"}', "none.yml"),
        (b'{"dockerComposeFile": "kap.overlay.yml", "service": "a"}', "overlay"),
        (b'{"dockerComposeFile": "${localEnv:X}.yml", "service": "a"}', "variable"),
        (b'{"dockerComposeFile": [3], "service": "a"}', "dockerComposeFile"),
    ],
)
def test_what_cannot_be_understood_is_refused_with_its_place(project: Path, content: bytes, place: str) -> None:
    (project / ".devcontainer" / "devcontainer.json").write_bytes(content)
    before = tree(project)
    error = refused(run(init, project, "--yes"))
    assert place in error.message
    assert "devcontainer.json" in error.message
    assert error.hint
    assert tree(project) == before


def test_a_link_out_of_the_project_is_not_followed(project: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.json"
    outside.write_text(CONFIG)
    path = project / ".devcontainer" / "devcontainer.json"
    path.unlink()
    path.symlink_to(outside)
    assert "leads out of the project" in refused(run(init, project, "--yes")).message
    assert outside.read_text() == CONFIG
    path.unlink()
    path.symlink_to("real.json")
    (project / ".devcontainer" / "real.json").write_text(CONFIG)
    assert run(init, project, "--yes").return_value == 0
    assert path.is_symlink()
    run(uninit, project, "--yes")
    assert path.is_symlink() and path.read_text() == CONFIG


def test_a_link_in_place_of_the_policy_is_not_written_through(project: Path, tmp_path: Path) -> None:
    (project / "kap.toml").symlink_to(tmp_path / "elsewhere")
    refused(run(init, project, "--yes"))
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_a_file_that_is_read_only_is_left(project: Path) -> None:
    path = project / ".devcontainer" / "devcontainer.json"
    path.chmod(0o444)
    assert "read-only" in refused(run(init, project, "--yes")).message
    assert path.read_text() == CONFIG
    assert not (project / "kap.toml").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_directory_that_is_closed_is_told(project: Path) -> None:
    (project / ".devcontainer").chmod(0)
    try:
        assert "permission denied" in refused(run(init, project, "--yes")).message
    finally:
        (project / ".devcontainer").chmod(0o755)


def test_mode_and_fifo(project: Path) -> None:
    path = project / ".devcontainer" / "devcontainer.json"
    path.chmod(0o600)
    run(init, project, "--yes")
    assert path.stat().st_mode & 0o777 == 0o600
    path.unlink()
    os.mkfifo(path)
    assert "no plain file" in refused(run(init, project, "--yes")).message


def test_no_directory_and_no_project(tmp_path: Path) -> None:
    assert "not a directory" in refused(run(init, tmp_path / "none")).message
    assert "not a project" in refused(run(init, Path("/"))).message


# --- Interrupted -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [1, 2, 3, 4])
def test_a_run_that_was_interrupted_is_undone_by_the_next(
    project: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    """The process dies at its first, second, ... write: the record first, then the files."""
    before = tree(project)
    put, calls = init_files.put, 0

    def dying(path: Path, content: bytes | None) -> None:
        nonlocal calls
        calls += 1
        if calls == stop:
            path.with_name(f".{path.name}.kap-new").write_bytes(b"half")
            raise Killed
        put(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(init_files, "put", dying)
        with pytest.raises(Killed):
            run(init, project, "--yes")
    done = run(init, project, said="n\n")
    assert "interrupted" in done.output or stop in (1, 2)
    assert tree(project) == before
    assert run(init, project, "--yes").return_value == 0
    run(uninit, project, "--yes")
    assert tree(project) == before


def test_a_run_that_ends_before_the_policy_is_accepted_is_undone_too(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tree(project)

    def killed(_: object) -> str:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(snapshot, "accept", killed)
        with pytest.raises(Killed):
            run(init, project, "--yes")
    assert "interrupted" in run(init, project, said="n\n").output
    assert tree(project) == before


def test_a_policy_that_cannot_be_accepted_leaves_no_file_changed(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tree(project)

    def refusing(_: object) -> str:
        raise KapError("the disk is full", "make room")

    monkeypatch.setattr(snapshot, "accept", refusing)
    assert refused(run(init, project, "--yes")).message == "the disk is full"
    assert tree(project) == before


def test_two_at_once_are_told_apart(project: Path) -> None:
    before = tree(project)
    with (project_state(project).directory / "init.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert "at work" in refused(run(init, project, "--yes")).message
    assert tree(project) == before


class Killed(BaseException):
    """Stands for the end of the process."""


def test_a_disk_that_is_full_leaves_everything_as_it_was(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = tree(project)
    put = init_files.put

    def full(path: Path, content: bytes | None) -> None:
        if path.name == "devcontainer.json" and content != before[".devcontainer/devcontainer.json"]:
            raise OSError(28, "No space left on device", str(path))
        put(path, content)

    monkeypatch.setattr(init_files, "put", full)
    assert "No space left" in refused(run(init, project, "--yes")).message
    assert tree(project) == before


def test_a_file_that_changed_since_the_plan_is_left_alone(tmp_path: Path, make_change: Callable[..., Change]) -> None:
    one, two = make_change("a"), make_change("b")
    (tmp_path / "b").write_text("else")
    with pytest.raises(KapError, match="changed meanwhile"):
        init_files.apply([one, two], tmp_path)
    assert (tmp_path / "a").read_text() == "old"
    assert not (tmp_path / init_files.RECORD).exists()


@pytest.fixture
def make_change(tmp_path: Path) -> Callable[..., Change]:
    def make(name: str) -> Change:
        (tmp_path / name).write_text("old")
        return Change(str(tmp_path / name), b"old", b"new")

    return make


def test_the_record_survives_a_round_trip(tmp_path: Path, make_change: Callable[..., Change]) -> None:
    record = init_files.apply([make_change("a")], tmp_path)
    assert init_files.load(tmp_path) == record
    (tmp_path / init_files.RECORD).write_bytes(msgspec.json.encode({"files": 3}))
    with pytest.raises(KapError, match="cannot be read"):
        init_files.load(tmp_path)
