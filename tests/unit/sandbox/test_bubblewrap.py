"""Plans as arguments of bwrap."""

from __future__ import annotations

from kap.sandbox.bubblewrap import FLOOR, Descriptors, arguments
from kap.sandbox.plan import Devices, Directory, File, Freeze, Link, Pin, Plan, Proc, ReadOnly, Tmpfs, Writable

ALL = frozenset({"--bind-fd", "--size", "--disable-userns"})
PLAN = Plan(
    command=("/usr/bin/true", "--x"),
    directory="/w",
    mounts=(
        ReadOnly("/usr", "/usr"),
        Directory("/etc"),
        File("/etc/passwd", b"p"),
        Link("/bin", "usr/bin"),
        Proc(),
        Devices(),
        Tmpfs("/tmp", 5, 0o1777),
        Writable("/w", "/w"),
        Pin("/w/.git", writable=True),
        Pin("/w/.git/hooks", writable=False),
        Freeze("/"),
    ),
    environment=(("SECRET", "value"),),
)
FDS = Descriptors(info=10, seccomp=11, sources={7: 20, 8: 21, 9: 22}, contents={2: 30})


def text(plan: Plan = PLAN, options: frozenset[str] = ALL, setsid: str = "") -> str:
    return " ".join(arguments(plan, FDS, options=options, setsid=setsid))


def test_the_floor_is_always_there() -> None:
    for options in (ALL, frozenset[str]()):
        words = arguments(PLAN, FDS, options=options)
        assert tuple(words[: len(FLOOR)]) == FLOOR
        assert words[words.index("--seccomp") + 1] == "11"
    for namespace in ("user", "pid", "ipc", "net", "uts"):
        assert f"--unshare-{namespace}" in FLOOR
    assert "--share-net" not in text()


def test_mounts_in_order() -> None:
    body = text()
    assert (
        "--ro-bind /usr /usr --perms 0755 --dir /etc --perms 0444 --ro-bind-data 30 /etc/passwd --symlink usr/bin /bin "
        "--proc /proc --dev /dev "
        "--perms 1777 --size 5 --tmpfs /tmp --bind-fd 20 /w --bind-fd 21 /w/.git --ro-bind-fd 22 /w/.git/hooks --remount-ro /"
    ) in body
    assert body.endswith("--chdir /w --seccomp 11 --info-fd 10 -- /usr/bin/true --x")


def test_an_older_bwrap_gets_no_argument_it_lacks() -> None:
    body = " ".join(arguments(PLAN, Descriptors(info=10, seccomp=11, contents={2: 30}), options=frozenset()))
    assert "--size" not in body
    assert "-fd 2" not in body
    assert "--disable-userns" not in body
    assert "--bind /w /w --bind /w/.git /w/.git --ro-bind /w/.git/hooks /w/.git/hooks" in body


def test_a_session_of_its_own_with_or_without_a_terminal() -> None:
    assert "--new-session" in text()
    plan = Plan(PLAN.command, PLAN.directory, PLAN.mounts, PLAN.environment, terminal=True)
    body = text(plan, setsid="/usr/bin/setsid")
    assert "--new-session" not in body
    assert body.endswith("-- /usr/bin/setsid -c /usr/bin/true --x")


def test_the_environment_is_not_in_the_arguments() -> None:
    assert "value" not in text()
