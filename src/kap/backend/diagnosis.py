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
    return _error("capsule.no-bubblewrap", "kap run needs bubblewrap, and no program bwrap is on the PATH", _INSTALL)


def old_bubblewrap(program: str, missing: list[str]) -> BackendError:
    """The error for a bwrap without the arguments `missing`."""
    hint = "install bubblewrap 0.6 or newer (Debian 12 and Ubuntu 22.04 have it)"
    return _error("capsule.no-bubblewrap", f"{program} is too old: it lacks {', '.join(missing)}", hint)


def why_it_failed(kernel: Kernel | None = None) -> BackendError:
    """The error for a bwrap that gave up before the command started (it has told its own reason on stderr)."""
    code, message, hint = _cause(read_kernel() if kernel is None else kernel)
    return _error(code, f"bubblewrap could not make the capsule: {message}", hint)


def _error(code: str, message: str, hint: str) -> BackendError:
    return BackendError(f"{message} [{code}]", hint)


def _cause(kernel: Kernel) -> tuple[str, str, str]:
    if kernel.capsule:
        return "capsule.nested", "kap runs in a capsule already, and there are none in there", "run kap outside of it"
    if kernel.max_user_namespaces == "0":
        hint = "as root: sysctl -w user.max_user_namespaces=15000 (to keep it: a file in /etc/sysctl.d)"
        return "capsule.no-namespaces", "user namespaces are switched off", hint
    if kernel.unprivileged_userns_clone == "0" and not kernel.root:
        hint = "as root: sysctl -w kernel.unprivileged_userns_clone=1 (to keep it: a file in /etc/sysctl.d)"
        return "capsule.no-namespaces", "users may not make user namespaces on this machine", hint
    if kernel.apparmor_restrict == "1" and not kernel.root:
        hint = f"as root, allow it for bwrap alone: {APPARMOR_COMMAND}"
        return "capsule.apparmor", "AppArmor keeps users from making user namespaces (Ubuntu 23.10 and newer)", hint
    if not kernel.seccomp:
        hint = "use a kernel built with CONFIG_SECCOMP_FILTER (every distribution's has it)"
        return "capsule.no-seccomp", "the kernel has no seccomp filters", hint
    if kernel.container:
        hint = (
            "run kap on the host; or start the container with --security-opt seccomp=unconfined "
            "--security-opt apparmor=unconfined --security-opt systempaths=unconfined"
        )
        return "capsule.in-container", "kap runs in a container, and the container forbids namespaces", hint
    hint = "if it says 'Operation not permitted', a security module forbids namespaces here"
    return "capsule.no-namespaces", "the reason is on the line above, by bwrap", hint


def _setting(name: str) -> str:
    return _read(Path("/proc/sys") / name).strip()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
