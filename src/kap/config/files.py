"""Read one file for a config, or say what is wrong with it: the only place of this room that touches a disk.

Whatever stands at the path, the answer is a text or a `Problem`, never an exception; nothing is opened that could block or be endless.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import msgspec

from kap.config.problem import Problem
from kap.document.source import Source

MAX_BYTES = 1_048_576
"""A kap.toml larger than this is refused by its size, unread."""

_BOMS = ((b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"), (b"\x00\x00\xfe\xff", "UTF-32"))


class Reading(msgspec.Struct, frozen=True):
    """`text` is None when `problem` says why there is none; `shown` is then what can be shown of the file all the same."""

    text: str | None
    problem: Problem | None = None
    shown: str = ""


def read(path: Path, layer: str = "project") -> Reading:
    """The text of a file of at most `MAX_BYTES` in UTF-8; everything else is a Problem of `layer`."""
    shown = str(path)
    try:
        data = _bytes(path)
    except _Refused as refused:
        return Reading(None, Problem(refused.code, refused.message, hint=refused.hint, layer=layer, path=shown))
    except (OSError, ValueError) as error:
        code, message, hint = _why(error)
        return Reading(None, Problem(code, message, hint=hint, layer=layer, path=shown))
    try:
        return Reading(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        return Reading(
            None, _not_utf8(data, error, layer, shown), "" if _encoding(data) else data.decode("utf-8", "replace")
        )


class _Refused(Exception):
    def __init__(self, code: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.code, self.message, self.hint = code, message, hint


def _bytes(path: Path) -> bytes:
    """Opened without waiting (a FIFO has no writer), judged by the descriptor (the name may change meanwhile), then read."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            kind = _kind(about.st_mode)
            hint = "kap.toml is a plain file"
            if kind == "a directory":
                hint = (
                    "remove the directory (rmdir; engines make one where a file to be mounted is missing), and put the file there"
                    if path.name == "kap.toml"
                    else "name the file in it: kap check DIRECTORY/kap.toml"
                )
            raise _Refused("config.not-a-file", f"this is {kind}, not a file", hint)
        if about.st_size > MAX_BYTES:
            raise _Refused("config.too-large", _too_large(about.st_size), "is this really a kap.toml?")
        data = b""
        while len(data) <= MAX_BYTES and (piece := os.read(descriptor, MAX_BYTES + 1 - len(data))):
            data += piece
    finally:
        os.close(descriptor)
    if len(data) > MAX_BYTES:  # it grew meanwhile
        raise _Refused("config.too-large", _too_large(len(data)), "is this really a kap.toml?")
    return data


def _too_large(size: int) -> str:
    return f"the file is {size / 1_048_576:.1f} MiB; a kap.toml has at most {MAX_BYTES // 1_048_576} MiB"


def _kind(mode: int) -> str:
    names = ((stat.S_ISDIR, "a directory"), (stat.S_ISFIFO, "a named pipe"), (stat.S_ISSOCK, "a socket"))
    return next((name for test, name in names if test(mode)), "a device")


def _why(error: OSError | ValueError) -> tuple[str, str, str]:
    number = error.errno if isinstance(error, OSError) else 0
    if number in (errno.ENOENT, errno.ENOTDIR):
        return "config.missing", "there is no such file", "write one, or name another with kap check FILE"
    if number in (errno.EACCES, errno.EPERM):
        return "config.unreadable", "permission to read the file is denied", "chmod u+r it, or run kap as its owner"
    if number == errno.ELOOP:
        return "config.unreadable", "the file is a symbolic link that leads in a circle", "replace the link by a file"
    if number in (errno.ENXIO, errno.ENODEV, errno.ECONNREFUSED, errno.EOPNOTSUPP):
        return "config.not-a-file", "this is a socket or a device, not a file", "kap.toml is a plain file"
    if number == errno.ENAMETOOLONG:
        return "config.missing", "the name is too long for a file", "name another file"
    reason = os.strerror(number) if number else "the name is not one a file can have"
    return "config.unreadable", f"the file cannot be read: {reason}", ""


def _encoding(data: bytes) -> str:
    """What the byte order mark says the file is, "" where there is none of another encoding."""
    return next((name for mark, name in _BOMS if data.startswith(mark)), "")


def _not_utf8(data: bytes, error: UnicodeDecodeError, layer: str, path: str) -> Problem:
    """The byte's place, in characters of the text decoded so far (each further bad byte counts as one)."""
    before = data[: error.start].decode("utf-8")
    span = Source(before + "\ufffd").span(len(before), len(before) + 1)
    encoding = _encoding(data)
    if encoding:
        message = f"the file is {encoding}; kap.toml is UTF-8"
    else:
        message = f"byte {error.start} (0x{data[error.start]:02x}) is not UTF-8"
        if error.start and data[:1] and data[error.start] >= 0xA0:
            message += "; the file looks like Latin-1"
    return Problem("config.not-utf8", message, span=span, hint="save the file as UTF-8", layer=layer, path=path)
