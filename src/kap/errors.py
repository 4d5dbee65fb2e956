"""The few exceptions that reach a person, and the exit codes they carry.

Rules: a problem in a user's file is data (`config.problem.Problem`), not an exception; everything raised for a person is a
`KapError` with a hint that says what to do; anything else that escapes is a bug and is reported as one, without a traceback.
"""

from __future__ import annotations

EXIT_OK = 0
EXIT_FAILED = 1  # the check ran and the answer is no
EXIT_USAGE = 2  # bad input: arguments, a file that does not parse
EXIT_UNAVAILABLE = 69  # sysexits.h EX_UNAVAILABLE: something the command needs is missing on this machine
EXIT_SOFTWARE = 70  # sysexits.h EX_SOFTWARE: a bug in kap
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells count
EXIT_PIPE = 141  # 128 + SIGPIPE: whoever read the output has gone


class KapError(Exception):
    """What happened (`message`, with the place in it) and what to do about it (`hint`)."""

    exit_code = EXIT_FAILED

    def __init__(self, message: str, hint: str = "", exit_code: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if exit_code is not None:
            self.exit_code = exit_code


class ConfigError(KapError):
    """A policy file that cannot be used; nothing starts (or the last good policy stays)."""

    exit_code = EXIT_USAGE


class UsageError(KapError):
    """Arguments that make no sense together."""

    exit_code = EXIT_USAGE


class BackendError(KapError):
    """The machine cannot give what the capsule needs: no bubblewrap, no user namespaces, no engine."""

    exit_code = EXIT_UNAVAILABLE
