"""``scripts/setup.sh`` in a checkout of its own: what it asks, what it says, and what it heals.

Debian's programs are stand-ins here (the tests' names say so): they write down what they were asked to do. The environments are real;
kap in them is a package of three lines, built by a backend in the checkout, so nothing comes from a network.
"""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent.parent
TOOLS = [
    "bash",
    "env",
    "cat",
    "sed",
    "cut",
    "sha256sum",
    "uname",
    "id",
    "rm",
    "dirname",
    "mkdir",
    "timeout",
    "ls",
    "sort",
]
BACKEND = """
import zipfile
def build_editable(folder, config_settings=None, metadata_directory=None):
    name = "kap-1-py3-none-any.whl"
    files = {
        "kap_small.py": "def main(): print('kap, version 1')",
        "kap-1.dist-info/METADATA": "Metadata-Version: 2.1\\nName: kap\\nVersion: 1\\n",
        "kap-1.dist-info/WHEEL": "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
        "kap-1.dist-info/entry_points.txt": "[console_scripts]\\nkap = kap_small:main\\n",
    }
    with zipfile.ZipFile(folder + "/" + name, "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)
        wheel.writestr("kap-1.dist-info/RECORD", "".join(f"{path},,\\n" for path in files) + "kap-1.dist-info/RECORD,,\\n")
    return name
"""
PYPROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n[project]\nname = "kap"\nversion = "1"\n'


class Machine:
    """A checkout whose path has a space, and a PATH that holds only `TOOLS` and stand-ins."""

    def __init__(self, root: Path) -> None:
        self.checkout = root / "my checkout"
        self.programs = root / "programs"
        self.log = root / "asked"
        for folder in (self.checkout / "scripts", self.checkout / "requirements", self.programs):
            folder.mkdir(parents=True)
        shutil.copy(REPO / "scripts" / "setup.sh", self.checkout / "scripts")
        (self.checkout / "requirements" / "dev.txt").write_text("")
        (self.checkout / "pyproject.toml").write_text(PYPROJECT)
        (self.checkout / "backend.py").write_text(BACKEND)
        for tool in TOOLS:
            (self.programs / tool).symlink_to(shutil.which(tool) or f"/usr/bin/{tool}")
        self.environment = {
            "PATH": str(self.programs), "HOME": str(root), "KAP_PYTHON": sys.executable, "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull,
        }  # fmt: skip

    def stand_in(self, name: str, body: str = "") -> None:
        """A program `name` that notes its arguments, then does `body`."""
        path = self.programs / name
        path.unlink(missing_ok=True)
        path.write_text(f'#!/bin/sh\necho "{name} $*" >> "{self.log}"\n{body}\n')
        path.chmod(0o755)

    def has_everything(self) -> None:
        self.stand_in("bwrap")

    def setup(self, what: str = "run", **more: str) -> subprocess.CompletedProcess[str]:
        """Run it with nobody to ask."""
        return subprocess.run(
            [self.checkout / "scripts" / "setup.sh", what], env=self.environment | more, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=100,
        )  # fmt: skip

    def answer(self, text: bytes) -> tuple[int, str]:
        """Run it at a terminal where a person types `text`; the exit code and all that was shown."""
        leader, follower = pty.openpty()
        os.write(leader, text)
        got = subprocess.run(
            [self.checkout / "scripts" / "setup.sh"], env=self.environment, stdin=follower,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=100,
        )  # fmt: skip
        os.close(leader)
        os.close(follower)
        return got.returncode, got.stdout

    def asked(self) -> list[str]:
        """What the stand-ins were called with."""
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def user(machine: Machine, number: int) -> None:
    """Make the script think that this user runs it."""
    machine.stand_in("id", f"echo {number}")


INSTALL = "apt-get -qq install -y --no-install-recommends bubblewrap"


class TestQuestionWithStandInsForDebian:
    @pytest.mark.parametrize("typed", [b"n\n", b"\n", b"\x04", b"what?\n"])
    @pytest.mark.parametrize("number", [0, 1000])
    def test_anything_but_yes_installs_nothing(self, typed: bytes, number: int, machine: Machine) -> None:
        user(machine, number)
        machine.stand_in("apt-get")
        machine.stand_in("sudo", 'exec "$@"')
        status, shown = machine.answer(typed)
        assert status == 69
        assert "nothing was installed; still missing: bubblewrap" in shown
        assert f"run: {'sudo ' if number else ''}apt-get install -y --no-install-recommends bubblewrap" in shown
        assert [line for line in machine.asked() if "apt-get" in line] == []

    @pytest.mark.parametrize("number", [0, 1000])
    def test_yes_installs_exactly_what_was_named(self, number: int, machine: Machine) -> None:
        user(machine, number)
        machine.stand_in("apt-get")
        machine.stand_in("sudo", 'exec "$@"')
        status, shown = machine.answer(b"y\n")
        assert status == 0
        assert "Debian packages to install (needs root): bubblewrap\n" in shown
        assert [line for line in machine.asked() if line.startswith("apt-get")] == ["apt-get -qq update", INSTALL]
        assert any(line.startswith("sudo ") for line in machine.asked()) == bool(number)

    def test_nobody_to_ask_and_no_root(self, machine: Machine) -> None:
        user(machine, 1000)
        machine.stand_in("apt-get")
        machine.stand_in("sudo", 'exec "$@"')
        got = machine.setup()
        assert got.returncode == 69
        assert "nobody can be asked" in got.stderr
        assert "KAP_YES=1" in got.stderr
        assert [line for line in machine.asked() if "apt-get" in line] == []

    @pytest.mark.parametrize("variables", [{"CI": "1"}, {"CI": "true"}, {"KAP_YES": "1"}])
    def test_not_asked_where_that_was_said(self, variables: dict[str, str], machine: Machine) -> None:
        user(machine, 1000)
        machine.stand_in("apt-get")
        machine.stand_in("sudo", 'exec "$@"')
        assert machine.setup(**variables).returncode == 0
        assert INSTALL in machine.asked()

    def test_ci_that_is_no_is_no(self, machine: Machine) -> None:
        user(machine, 1000)
        machine.stand_in("apt-get")
        machine.stand_in("sudo", 'exec "$@"')
        assert machine.setup(CI="false", KAP_YES="0").returncode == 69

    def test_no_sudo(self, machine: Machine) -> None:
        user(machine, 1000)
        machine.stand_in("apt-get")
        got = machine.setup(KAP_YES="1")
        assert got.returncode == 69
        assert "there is no sudo here: bubblewrap" in got.stderr
        assert "run as root: apt-get install" in got.stderr

    @pytest.mark.parametrize("step", ["update", "install"])
    def test_apt_that_fails_is_named_with_what_to_do(self, step: str, machine: Machine) -> None:
        user(machine, 0)
        machine.stand_in("apt-get", f'case "$*" in *{step}*) echo "E: of apt" >&2; exit 100 ;; esac')
        got = machine.setup()
        assert got.returncode == 69
        assert "E: of apt" in got.stderr
        assert "run this again" in got.stderr

    def test_another_distribution(self, machine: Machine) -> None:
        got = machine.setup()
        assert got.returncode == 69
        assert "bubblewrap" in got.stderr
        assert "your package manager" in got.stderr

    def test_the_tests_packages_are_in_one_question(self, machine: Machine) -> None:
        user(machine, 0)
        machine.stand_in("apt-get")
        machine.setup("test")
        install = next(line for line in machine.asked() if "install" in line)
        for package in ("curl", "git", "gcc", "openssl", "npm", "mmdebstrap"):
            assert f" {package}" in install


class TestEnvironment:
    def test_the_second_run_installs_nothing(self, machine: Machine) -> None:
        machine.has_everything()
        first = machine.setup()
        assert first.returncode == 0, first.stderr
        assert "creating .venv" in first.stdout
        again = machine.setup()
        assert again.returncode == 0
        assert again.stdout.startswith("setup: done: kap, version 1 in .venv/bin, Python 3.")

    @pytest.mark.timeout(400)  # six environments
    def test_broken_half_made_and_moved_ones_heal(self, machine: Machine) -> None:
        machine.has_everything()
        assert machine.setup().returncode == 0
        environment = machine.checkout / ".venv"
        for breaks in ("interpreter", "half made", "a file", "kap is gone", "moved"):
            if breaks == "interpreter":
                (environment / "bin" / "python3").unlink()
                (environment / "bin" / "python").unlink(missing_ok=True)
            elif breaks == "half made":
                shutil.rmtree(environment / "bin")
            elif breaks == "a file":
                shutil.rmtree(environment)
                environment.write_text("")
            elif breaks == "kap is gone":
                (environment / "bin" / "kap").unlink()
            else:
                machine.checkout = machine.checkout.rename(machine.checkout.parent / "moved")
                environment = machine.checkout / ".venv"
            got = machine.setup()
            assert (breaks, got.returncode) == (breaks, 0), got.stderr
            shown = subprocess.run([environment / "bin" / "kap"], capture_output=True, text=True, timeout=60)
            assert (breaks, shown.stdout) == (breaks, "kap, version 1\n")

    def test_uv_is_taken_by_its_hash_or_not_at_all_with_stand_ins_for_older_python(self, machine: Machine) -> None:
        machine.has_everything()
        machine.stand_in("pip-of-uv", 'case "$*" in *"pip -q install"*) exit 1 ;; esac')
        mkdir, link, place = shutil.which("mkdir"), shutil.which("ln"), ".cache/uv-tool/bin"
        made = f"{mkdir} -p {place} && {link} -s '{machine.programs}/pip-of-uv' {place}/python"
        body = f'case "$*" in *ensurepip*) echo 12 ;; *uv-tool) {made} ;; *) exec "{sys.executable}" "$@" ;; esac'
        machine.stand_in("python3", body)
        got = machine.setup(KAP_PYTHON="")
        if "Python 3.13 is not here" not in got.stdout:
            pytest.skip("this machine has a newer Python where the script always looks")
        assert got.returncode == 0, got.stderr
        assert "Python 3.13 cannot be had here" in got.stdout
        installs = [line for line in machine.asked() if line.startswith("pip-of-uv") and " install " in line]
        assert installs == ["pip-of-uv -m pip -q install --require-hashes -r requirements/uv.txt"]
        assert not (machine.checkout / ".cache" / "uv-tool").exists()

    def test_packages_that_cannot_be_installed(self, machine: Machine) -> None:
        machine.has_everything()
        (machine.checkout / "requirements" / "dev.txt").write_text("nothing==1 --hash=sha256:" + "0" * 64 + "\n")
        got = machine.setup()
        assert got.returncode == 69
        assert "pip could not install requirements/dev.txt" in got.stderr
        assert not (machine.checkout / ".venv" / ".kap-requirements").exists()

    def test_a_python_that_is_none(self, machine: Machine) -> None:
        machine.has_everything()
        got = machine.setup(KAP_PYTHON="/nowhere/python3")
        assert got.returncode == 69
        assert "KAP_PYTHON=/nowhere/python3 is no Python" in got.stderr

    def test_an_argument_that_is_none(self, machine: Machine) -> None:
        got = machine.setup("tset")
        assert got.returncode == 69
        assert "usage: scripts/setup.sh [run|test]" in got.stderr
