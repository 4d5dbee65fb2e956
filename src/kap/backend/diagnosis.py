"""Why bubblewrap cannot make a capsule on this machine, and what to do about it."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from kap.errors import BackendError

_INSTALL = "install bubblewrap: apt-get install bubblewrap (Debian, Ubuntu), dnf install bubblewrap (Fedora), apk add bubblewrap (Alpine)"

APPARMOR_COMMAND = (
    r"printf 'abi <abi/4.0>,\ninclude <tunables/global>\nprofile bwrap /usr/bin/bwrap flags=(unconfined) {\n  userns,\n}\n' "
    "> /etc/apparmor.d/bwrap && apparmor_parser -r /etc/apparmor.d/bwrap"
)
"""Lets bwrap, and only bwrap, make user namespaces where AppArmor restricts them."""


class Kernel(msgspec.Struct, frozen=True):
    """What decides whether an unprivileged process may make namespaces; "" where the kernel has no such setting."""

    max_user_namespaces: str = ""
    unprivileged_userns_clone: str = ""
    apparmor_restrict: str = ""
    root: bool = False
    container: bool = False
    capsule: bool = False
    seccomp: bool = True


def read_kernel() -> Kernel:
    """The settings of the running machine."""
    return Kernel(
        max_user_namespaces=_setting("user/max_user_namespaces"),
        unprivileged_userns_clone=_setting("kernel/unprivileged_userns_clone"),
        apparmor_restrict=_setting("kernel/apparmor_restrict_unprivileged_userns"),
        root=os.geteuid() == 0,
        container=Path("/.dockerenv").exists() or Path("/run/.containerenv").exists() or "container" in os.environ,
        capsule="KAP_CAPSULE" in os.environ,
        seccomp="Seccomp:" in _read(Path("/proc/self/status")),
    )


def no_bubblewrap() -> BackendError:
    """The error for a machine without bwrap on its PATH."""
    return BackendError("kap run needs bubblewrap, and no program bwrap is on the PATH", _INSTALL)


def why_it_failed(kernel: Kernel | None = None) -> BackendError:
    """The error for a bwrap that gave up before the command started (it has told its own reason on stderr)."""
    kernel = read_kernel() if kernel is None else kernel
    message, hint = _cause(kernel)
    return BackendError(f"bubblewrap could not make the capsule: {message}", hint)


def _cause(kernel: Kernel) -> tuple[str, str]:
    if kernel.capsule:
        return "kap runs in a capsule already, and there are none in there", "run kap outside of it"
    if kernel.max_user_namespaces == "0":
        return (
            "user namespaces are switched off",
            "as root: sysctl -w user.max_user_namespaces=15000 (to keep it: a file in /etc/sysctl.d)",
        )
    if kernel.unprivileged_userns_clone == "0" and not kernel.root:
        return (
            "users may not make user namespaces on this machine",
            "as root: sysctl -w kernel.unprivileged_userns_clone=1 (to keep it: a file in /etc/sysctl.d)",
        )
    if kernel.apparmor_restrict == "1" and not kernel.root:
        return (
            "AppArmor keeps users from making user namespaces (Ubuntu 23.10 and newer)",
            f"as root, allow it for bwrap alone: {APPARMOR_COMMAND}",
        )
    if not kernel.seccomp:
        return (
            "the kernel has no seccomp filters",
            "use a kernel built with CONFIG_SECCOMP_FILTER (every distribution's has it)",
        )
    if kernel.container:
        return (
            "kap runs in a container, and the container forbids namespaces",
            "run kap on the host; or start the container with --security-opt seccomp=unconfined --security-opt apparmor=unconfined "
            "--security-opt systempaths=unconfined",
        )
    return (
        "the reason is on the line above, by bwrap",
        "if it says 'Operation not permitted', a security module forbids namespaces here",
    )


def _setting(name: str) -> str:
    return _read(Path("/proc/sys") / name).strip()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
