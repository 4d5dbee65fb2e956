"""Why a capsule cannot be made, by what the kernel says of itself."""

from __future__ import annotations

import pytest

from kap.backend.diagnosis import APPARMOR_COMMAND, Kernel, no_bubblewrap, read_kernel, why_it_failed

CASES = [
    (Kernel(max_user_namespaces="0"), "switched off", "sysctl -w user.max_user_namespaces"),
    (Kernel(max_user_namespaces="0", root=True), "switched off", "sysctl -w user.max_user_namespaces"),
    (Kernel(unprivileged_userns_clone="0"), "users may not make", "kernel.unprivileged_userns_clone=1"),
    (Kernel(apparmor_restrict="1"), "AppArmor", "/etc/apparmor.d/bwrap"),
    (Kernel(seccomp=False), "no seccomp", "CONFIG_SECCOMP_FILTER"),
    (Kernel(container=True), "container forbids", "--security-opt"),
    (Kernel(capsule=True, max_user_namespaces="0"), "in a capsule already", "outside"),
    (Kernel(max_user_namespaces="15000"), "by bwrap", "Operation not permitted"),
    (Kernel(unprivileged_userns_clone="0", root=True), "by bwrap", "security module"),
    (Kernel(apparmor_restrict="1", root=True), "by bwrap", "security module"),
]


@pytest.mark.parametrize(("kernel", "message", "hint"), CASES)
def test_causes(kernel: Kernel, message: str, hint: str) -> None:
    error = why_it_failed(kernel)
    assert message in error.message
    assert hint in error.hint
    assert error.exit_code == 69


def test_no_bubblewrap_says_how_to_install_it() -> None:
    assert "apt-get install bubblewrap" in no_bubblewrap().hint


def test_the_profile_names_bwrap_alone() -> None:
    assert "profile bwrap /usr/bin/bwrap" in APPARMOR_COMMAND
    assert "userns," in APPARMOR_COMMAND


def test_the_running_kernel_is_read() -> None:
    assert read_kernel().seccomp is True
