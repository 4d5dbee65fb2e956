"""What an agent inside of a ``kap run`` capsule tries in order to get out, or to be let out the next time."""

from __future__ import annotations

import os
import platform
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from rig.capsule import EMPTY, START, Project

PYTHON = "/usr/bin/python3"


def attack(project: Project, code: str, prelude: str = "") -> list[str]:
    """Run Python `code` in the capsule; the lines it printed. ``call`` makes a raw system call and gives its errno's name, or "done"."""
    if not Path(PYTHON).exists():
        pytest.skip(f"no {PYTHON} on this machine")
    helper = (
        "import ctypes, errno, os, socket, sys\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "def call(number, *arguments):\n"
        "    ctypes.set_errno(0)\n"
        "    wide = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]\n"
        "    result = libc.syscall(ctypes.c_long(number), *wide)\n"
        "    return 'done' if result >= 0 else errno.errorcode[ctypes.get_errno()]\n"
        "def attempt(work):\n"
        "    try:\n"
        "        work(); print('done')\n"
        "    except OSError as error:\n"
        "        print(errno.errorcode[error.errno])\n"
    )
    done = project.run(PYTHON, "-c", helper + code, **({"input": prelude} if prelude else {}))
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout.split()


def number(x86_64: int, aarch64: int) -> int:
    return {"x86_64": x86_64, "aarch64": aarch64}[platform.machine()]


# --- the kernel


def test_no_capability_and_no_new_privilege(project: Project) -> None:
    for process in ("self", "1"):
        text = project.run("cat", f"/proc/{process}/status").stdout
        fields = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
        assert {fields[name].strip() for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
        assert fields["Seccomp"] == "2"
        assert fields["NoNewPrivs"] == "1"


def test_no_other_namespaces(project: Project) -> None:
    flags = [0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000, 0x80]
    unshare, clone, setns = number(272, 97), number(56, 220), number(308, 268)
    code = (
        f"for flag in {flags}: print(call({unshare}, flag))\n"
        f"for flag in {flags[:-1]}: print(call({clone}, flag | 17, 0, 0, 0, 0))\n"
        f"print(call({setns}, os.open('/proc/1/ns/user', 0), 0))\n"
        "print(call(435, 0, 0))\n"
    )
    assert attack(project, code) == ["EPERM"] * (8 + 7 + 1) + ["ENOSYS"]


def test_no_mounts(project: Project) -> None:
    code = (
        f"print(call({number(165, 40)}, b'x', b'/tmp', b'tmpfs', 0, 0))\n"
        f"print(call({number(166, 39)}, b'/etc/passwd', 2))\n"
        f"print(call({number(155, 41)}, b'/tmp', b'/tmp'))\n"
        f"print(call({number(161, 51)}, b'/tmp'))\n"
        "for new in (428, 429, 430, 431, 432, 433, 442, 467): print(call(new, 0, 0, 0, 0, 0))\n"
    )
    assert attack(project, code) == ["EPERM"] * 12


def test_kernel_surface_that_is_closed(project: Project) -> None:
    code = (
        "print(*[call(n, 0, 0, 0, 0, 0) for n in "
        f"({number(321, 280)}, {number(298, 241)}, {number(323, 282)}, {number(304, 265)}, {number(250, 219)}, {number(248, 217)})])\n"
        "print(*[call(n, 0, 0, 0, 0, 0) for n in (425, 426, 427, 437, 470, 600)])\n"
    )
    assert attack(project, code) == ["EPERM"] * 6 + ["ENOSYS"] * 6


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the other system call tables of x86_64")
@pytest.mark.parametrize(
    "machine_code", ["b814000000cd80c3", "b827000040" + "0f05c3"], ids=["32 bit: int 0x80 getpid", "x32: getpid"]
)
def test_another_system_call_table_kills(one: Project, machine_code: str) -> None:
    """What the filter says about numbers holds for one table only; the numbers of another mean other calls."""
    code = (
        "import mmap; page = mmap.mmap(-1, 4096, prot=7); "
        f"page.write(bytes.fromhex('{machine_code}')); "
        "address = ctypes.addressof(ctypes.c_char.from_buffer(page)); "
        "ctypes.CFUNCTYPE(ctypes.c_int)(address)(); print('ran')"
    )
    done = one.run(PYTHON, "-c", "import ctypes; " + code)
    assert "ran" not in done.stdout
    assert done.returncode == 128 + 31  # SIGSYS


def test_sockets_past_the_network_namespace(project: Project) -> None:
    """Raw and packet sockets, vsock (to the hypervisor, no namespace covers it), AF_ALG, netlink but for addresses and routes."""
    code = (
        "bad = (2, 3, 1), (2, 10, 0), (10, 3, 58), (17, 3, 0), (40, 1, 0), (38, 5, 0), (2, 5, 132), (2, 1, 132), (16, 3, 15), (9, 2, 0)\n"
        "for triple in bad:\n"
        "    attempt(lambda: socket.socket(*triple))\n"
        "for triple in ((1, 1, 0), (2, 1, 0), (2, 2, 0), (10, 1, 0), (16, 3, 0)):\n"
        "    attempt(lambda: socket.socket(*triple))\n"
    )
    refused = [
        "EPERM",
        "EPERM",
        "EPERM",
        "EAFNOSUPPORT",
        "EAFNOSUPPORT",
        "EAFNOSUPPORT",
        "EPERM",
        "EPROTONOSUPPORT",
        "EPROTONOSUPPORT",
    ]
    assert attack(project, code) == [*refused, "EAFNOSUPPORT"] + ["done"] * 5


def test_nothing_is_typed_into_a_terminal(one: Project) -> None:
    """TIOCSTI, TIOCLINUX, TIOCSETD; with high bits set, too, which the kernel ignores (CVE-2019-10063)."""
    code = (
        f"for request in (0x5412, 0x541C, 0x5423, 0x5412 | 1 << 32, 0x541C | 1 << 40): print(call({number(16, 29)}, 0, request, b'x'))\n"
        f"print(call({number(16, 29)}, 0, 0x5401, ctypes.create_string_buffer(64)))\n"
    )
    assert attack(one, code) == ["EPERM"] * 5 + ["ENOTTY"]


# --- the machine


def test_nothing_of_the_kernel_is_set(project: Project) -> None:
    """As root without capabilities one may still write /proc/sys, which has no namespace: core_pattern runs programs on the host."""
    pattern = Path("/proc/sys/kernel/core_pattern")
    before = pattern.read_text()
    done = project.run(
        "sh",
        "-c",
        f"echo '{before.strip()}' > {pattern}; find /proc -maxdepth 3 -writable -type f -not -path '/proc/[0-9]*' | head -3",
    )
    assert "Read-only file system" in done.stderr
    assert done.stdout == ""
    assert pattern.read_text() == before


def test_no_process_of_the_host_is_seen(project: Project) -> None:
    done = project.run(
        "sh", "-c", "ls /proc | grep -c '^[0-9]'; cat /proc/[0-9]*/cmdline | tr '\\0' ' '; cat /proc/1/environ"
    )
    assert int(done.stdout.splitlines()[0]) < 10
    assert str(project.state) not in done.stdout


def test_process_1_leads_nowhere(project: Project) -> None:
    done = project.run("sh", "-c", "ls /proc/1/root/ /proc/1/cwd/; cat /proc/1/root/etc/shadow; ls -l /proc/1/fd")
    assert "shadow" in done.stderr
    assert "home" not in done.stdout.split("/proc/1/cwd/:")[0].split() or project.home.parts[1] == "home"
    assert "socket:" not in done.stdout


def test_abstract_sockets_of_the_host_are_not_there(project: Project) -> None:
    name = f"kap-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("\0" + name)
        listener.listen()
        code = f"attempt(lambda: socket.socket(socket.AF_UNIX).connect(chr(0) + '{name}'))"
        assert attack(project, code) == ["ECONNREFUSED"]


def test_sockets_of_the_host_in_the_workspace_are_hidden(project: Project) -> None:
    """A path leads past the network namespace: a docker.sock or an agent's socket kept in the project."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(project.root / "docker.sock"))
        listener.listen()
        project.own()
        code = "attempt(lambda: socket.socket(socket.AF_UNIX).connect('docker.sock'))\n"
        code += "attempt(lambda: os.rename('docker.sock', 'x'))"
        assert attack(project, code) in (["ECONNREFUSED", "EBUSY"], ["EACCES", "EBUSY"])


def test_listeners_of_the_host_are_not_there(project: Project) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert attack(project, f"attempt(lambda: socket.create_connection(('127.0.0.1', {port}), 5))") == [
            "ECONNREFUSED"
        ]
        ask = "c = socket.create_connection(('127.0.0.1', 3128)); "
        ask += f"c.sendall(b'CONNECT 127.0.0.1:{port} HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n'); "
        assert attack(project, ask + "print(c.recv(99).split()[1].decode())") in (["403"], ["400"])


def test_devices(project: Project) -> None:
    done = project.run("sh", "-c", "ls /dev; ls /sys; mknod /tmp/d b 8 0; mknod d c 1 1; touch /dev/x")
    assert set(done.stdout.split()) <= {
        *(
            "console",
            "core",
            "fd",
            "full",
            "null",
            "ptmx",
            "pts",
            "random",
            "shm",
            "stderr",
            "stdin",
            "stdout",
            "tty",
            "urandom",
            "zero",
        )
    }
    assert done.stderr.count("Operation not permitted") + done.stderr.count("Permission denied") == 2


def test_files_of_the_system_stay_as_they_are(project: Project) -> None:
    targets = "/x /usr/x /etc/x /etc/passwd /etc/resolv.conf /opt/x /run/kap/x /proc/x"
    done = project.run("sh", "-c", f"for f in {targets}; do (echo x > $f) 2>/dev/null && echo wrote $f; done; exit 0")
    assert done.stdout.replace("wrote /run/kap/x\n", "") == ""


def test_no_secret_file_of_the_host_is_seen(project: Project) -> None:
    done = project.run(
        "sh",
        "-c",
        "cat /etc/shadow /etc/sudoers /etc/ssh/* /etc/ssl/private/* /var/lib/* /root/.bashrc /run/*/*; ls /home",
    )
    assert done.stdout.replace("user\n", "") == "" or "home" in str(project.base)


def test_no_core_dump_handler_of_the_host_is_started(project: Project) -> None:
    """A handler (core_pattern with a pipe) runs as root outside of the capsule, whatever RLIMIT_CORE is, but for 1."""
    done = project.run("sh", "-c", "ulimit -c 0; ulimit -S -c 0; grep 'core file' /proc/self/limits")
    assert done.stdout.split()[4:6] == ["1", "1"]
    code = "import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); print(*resource.getrlimit(resource.RLIMIT_CORE))"
    assert attack(project, code) == ["1", "1"]


# --- files that act on the host


@pytest.mark.parametrize("way", ["chmod", "open", "mknod", "tmpfile"])
def test_no_set_uid_file_is_left_for_the_host(project: Project, way: str) -> None:
    """A set-uid file in the workspace runs as the host user for whoever starts it: as root, where kap runs as root."""
    ways = {
        "chmod": "open('f', 'w').close(); attempt(lambda: os.chmod('f', 0o4755)); attempt(lambda: os.fchmod(os.open('f', 0), 0o4755))",
        "open": "os.umask(0); attempt(lambda: os.open('f', os.O_CREAT | os.O_WRONLY, 0o4755))",
        "mknod": "os.umask(0); attempt(lambda: os.mknod('f', 0o104755))",
        "tmpfile": "os.umask(0); attempt(lambda: os.open('.', os.O_TMPFILE | os.O_WRONLY, 0o4755))",
    }
    said = attack(project, ways[way])
    assert set(said) == {"EPERM"}
    left = project.root / "f"
    assert not left.exists() or not left.stat().st_mode & stat.S_ISUID


GOVERNING = (
    ".git/hooks/post-checkout",
    ".git/config",
    ".vscode/tasks.json",
    ".devcontainer/devcontainer.json",
    ".envrc",
    "kap.toml",
)


@pytest.mark.parametrize("name", GOVERNING)
def test_what_the_host_acts_on_stays_as_it_is(project: Project, name: str) -> None:
    for each in GOVERNING:
        if each != "kap.toml":
            project.write(each, "original\n")
    project.own()
    before = (project.root / name).read_text()
    top, parent = name.split("/")[0], str(Path(name).parent)
    tries = (
        f"echo evil > {name}",
        f"rm -f {name}; echo evil > {name}",
        f"echo evil > e; mv -f e {name}",
        f"mv {top} moved && mkdir -p {parent} && echo evil > {name}",
        f"mv {parent} moved2 && mkdir -p {parent} && echo evil > {name}" if parent != "." else "true",
        f"ln -f /usr/bin/true {name}; ln -sf /usr/bin/true {name}",
        f"chmod 777 {name} && echo evil >> {name}",
        f"rm -rf {top}; mkdir -p {parent}; echo evil > {name}",
    )
    project.run("sh", "-c", "; ".join(f"({one})" for one in tries))
    assert (project.root / name).read_text() == before
    assert not (project.root / name).is_symlink()


def test_a_new_git_directory_is_not_slipped_under(project: Project) -> None:
    project.write(".git/config", "original\n")
    project.own()
    project.run(
        "sh", "-c", "cp -r .git copy; echo evil > copy/config; mv .git old; mv copy .git; rm -rf .git; mv -T copy .git"
    )
    assert (project.root / ".git/config").read_text() == "original\n"


def test_git_itself_works_in_there(one: Project) -> None:
    """The protection must not be in the way of the work."""
    done = one.run("sh", "-c", "command -v git")
    if done.returncode:
        pytest.skip("no git on this machine")
    setup = "git init -q . && git config user.name t && git config user.email t@example.com"
    assert one.run("sh", "-c", setup).returncode == 0
    done = one.run(
        "sh", "-c", "git add -A && git commit -qm first && git switch -qc topic && git log --oneline | wc -l"
    )
    assert (done.stdout.strip(), done.returncode) == ("1", 0), done.stderr


# --- the next run


def test_a_policy_that_is_a_link_is_refused(one: Project) -> None:
    (one.root / "kap.toml").rename(one.root / "real.toml")
    (one.root / "kap.toml").symlink_to("real.toml")
    done = one.run("touch", "started")
    assert done.returncode == 2
    assert "symbolic link" in done.stderr
    assert not (one.root / "started").exists()


def test_a_policy_planted_below_is_refused(one: Project) -> None:
    one.run("sh", "-c", "mkdir sub && echo 'presets = [\"github\"]' > sub/kap.toml")
    assert (one.root / "sub/kap.toml").exists()
    done = one.run("touch", "started", cwd=one.root / "sub")
    assert done.returncode == 2
    assert "could have written it" in done.stderr
    named = one.run("true", options=("-C", str(one.root / "sub")))
    assert named.returncode == 0


def test_a_planted_bwrap_is_not_used(one: Project) -> None:
    """PATH with a directory of the workspace in front (node_modules/.bin, .venv/bin) is common."""
    fake = one.write(".venv/bin/bwrap", "#!/bin/sh\ntouch ../ran-on-the-host\n")
    fake.chmod(0o755)
    done = one.run("true", env={"PATH": f"{fake.parent}:/usr/bin:/bin"})
    assert done.returncode == 0
    assert not (one.home / "ran-on-the-host").exists()


def test_kap_run_from_the_workspace_cannot_be_changed(one: Project) -> None:
    """Somebody develops kap with kap: its own code lies in the workspace."""
    from kap.host.machine import look

    found = look(str(one.root), read_only=(), hide=(), extra=())
    assert not found.governs or all(str(one.root) in path for path in found.governs)
    import kap

    checkout = str(Path(kap.__path__[0]).parents[1])
    mine = look(checkout, read_only=(), hide=(), extra=()).governs
    assert os.path.realpath(kap.__path__[0]) in mine


@pytest.mark.parametrize(
    "place", ["/", "/usr", "/etc", "/proc", "/tmp/..", "/tmp", "/var", "/opt", "home", "above home", "state"]
)
def test_a_workspace_that_is_too_much_is_refused(one: Project, place: str) -> None:
    where = {"home": one.home, "above home": one.base, "state": one.state}.get(place, Path(place))
    policy = one.root / "kap.toml"
    try:
        if where in (one.home, one.base, one.state):
            (where / "kap.toml").write_text(EMPTY)
            done = one.run("touch", "/tmp/started", options=("-C", str(where)), cwd="/")
            assert done.returncode == 2, done.stderr
            assert "the project" in done.stderr or "kap's own state" in done.stderr
        else:
            from kap.errors import UsageError
            from kap.host.machine import check_workspace

            with pytest.raises(UsageError, match="the project"):
                check_workspace(os.path.realpath(where), (str(one.home),))
    finally:
        assert policy.exists()


def test_run_paths_do_not_lead_out(one: Project) -> None:
    (one.root / "out").symlink_to(one.home)
    for key in ("read_only", "hide"):
        one.write("kap.toml", f'[proxy.network]\nallow = ["unused.example.com"]\n[run]\n{key} = ["out"]\n')
        done = one.run("cat", "out/secret.txt")
        assert done.returncode == 2
        assert "not inside the project" in done.stderr
        assert "home secret" not in done.stdout


def test_links_of_the_workspace_lead_nowhere(project: Project) -> None:
    for name, target in (("a", project.home / "secret.txt"), ("b", Path("/etc/shadow")), ("c", project.state)):
        (project.root / name).symlink_to(target)
    (project.root / ".vscode").symlink_to(project.home)
    done = project.run("sh", "-c", "cat a b c/* .vscode/secret.txt")
    assert done.stdout == ""
    assert ".vscode is reached by a symbolic link" in done.stderr


def test_wide_ro_is_refused(one: Project) -> None:
    for path in ("/", str(one.home), str(one.base), str(one.state), "/proc"):
        done = one.run("true", options=("--ro", path))
        assert (done.returncode, "more than a tool needs" in done.stderr) == (2, True), path


def test_a_project_cannot_ask_for_credentials_of_the_host(one: Project) -> None:
    one.write(
        "kap.toml", EMPTY + '[proxy.upstream]\nurl = "http://proxy.example.com:3128"\nauth_env = "SECRET_TOKEN"\n'
    )
    done = one.run("touch", "started", env={"SECRET_TOKEN": "a:b"})
    assert done.returncode == 2
    assert "credentials of this host" in done.stderr
    assert not (one.root / "started").exists()


def test_state_in_the_workspace_is_refused_and_not_made(one: Project) -> None:
    done = one.run("touch", "started", env={"KAP_HOME": str(one.root / "state")})
    assert done.returncode == 2
    assert "kap's own state" in done.stderr
    assert sorted(path.name for path in one.root.iterdir()) == ["kap.toml"]


SWAP = """
import os, shutil, kap.host.capsule as c
from kap.backend import bubblewrap
real = bubblewrap.start
def start(plan, *rest, **more):
    root = plan.directory
    os.rename(root + "/.git", root + "/moved")
    {put}
    return real(plan, *rest, **more)
bubblewrap.start = start
"""


@pytest.mark.parametrize(
    "put",
    ['os.symlink("/usr", root + "/.git")', 'shutil.copytree(root + "/moved", root + "/.git")', "pass"],
    ids=["link", "copy", "nothing"],
)
@pytest.mark.parametrize("older", [False, True], ids=["bwrap with descriptors", "bwrap without"])
def test_what_is_swapped_while_a_capsule_starts(one: Project, put: str, older: bool) -> None:
    """Another capsule of the same workspace plays with what this one is about to protect: it starts protected, or not at all."""
    one.write(".git/config", "original\n")
    one.write(".git/hooks/x", "original\n")
    prelude = SWAP.format(put=put)
    if older:
        prelude += "bubblewrap.OPTIONAL = frozenset()\n"
    done = subprocess.run(
        [sys.executable, "-c", prelude + START, "run", "--", "sh", "-c", "touch started; echo evil > .git/config"],
        env=one.environment(),
        cwd=one.root,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr
    config = one.root / ".git" / "config"
    protected = config.exists() and config.read_text() == "original\n" and done.returncode != 69
    assert protected or (done.returncode == 69 and not (one.root / "started").exists()), done.stderr
    assert (one.root / "moved" / "config").read_text() == "original\n"
