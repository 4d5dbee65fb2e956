"""Numbers of the system calls the filter names (asm/unistd_64.h, asm-generic/unistd.h). Those from 424 on are the same everywhere."""

from __future__ import annotations

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""AUDIT_ARCH_X86_64, AUDIT_ARCH_AARCH64 (linux/audit.h)."""

X32_BIT = 0x40000000
"""x86_64 only: calls of the x32 ABI carry this bit under the same architecture."""

NEWEST = 469
"""file_setattr, Linux 6.17: the newest call that was looked at."""

_COMMON = {
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "clone3": 435,
    "openat2": 437,
    "mount_setattr": 442,
    "quotactl_fd": 443,
    "fchmodat2": 452,
    "open_tree_attr": 467,
}

# name: (x86_64, aarch64); None where the architecture has no such call.
_BY_ARCHITECTURE: dict[str, tuple[int, int | None]] = {
    "open": (2, None),
    "ioctl": (16, 29),
    "socket": (41, 198),
    "clone": (56, 220),
    "creat": (85, None),
    "chmod": (90, None),
    "fchmod": (91, 52),
    "syslog": (103, 116),
    "mknod": (133, None),
    "uselib": (134, None),
    "vhangup": (153, 58),
    "pivot_root": (155, 41),
    "setrlimit": (160, 164),
    "chroot": (161, 51),
    "acct": (163, 89),
    "settimeofday": (164, 170),
    "mount": (165, 40),
    "umount2": (166, 39),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "reboot": (169, 142),
    "iopl": (172, None),
    "ioperm": (173, None),
    "init_module": (175, 105),
    "delete_module": (176, 106),
    "quotactl": (179, 60),
    "nfsservctl": (180, 42),
    "lookup_dcookie": (212, 18),
    "clock_settime": (227, 112),
    "kexec_load": (246, 104),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "openat": (257, 56),
    "mknodat": (259, 33),
    "fchmodat": (268, 53),
    "unshare": (272, 97),
    "perf_event_open": (298, 241),
    "prlimit64": (302, 261),
    "fanotify_init": (300, 262),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "setns": (308, 268),
    "kcmp": (312, 272),
    "finit_module": (313, 273),
    "kexec_file_load": (320, 294),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
}

NUMBERS: dict[str, dict[str, int]] = {
    "x86_64": _COMMON | {name: pair[0] for name, pair in _BY_ARCHITECTURE.items()},
    "aarch64": _COMMON | {name: pair[1] for name, pair in _BY_ARCHITECTURE.items() if pair[1] is not None},
}
"""Numbers by machine (as in uname(2)) and name."""
