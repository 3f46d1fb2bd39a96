"""The exceptions that mean "the input is wrong": one line and exit code 2; and the reason of an OSError in words."""

from __future__ import annotations

import errno
import os

from swag_ray.masking import masked

DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class InputError(Exception):
    """A bad config, dataset, folder or argument. The message says what, where and what to do.

    Anything else that escapes is a fault of ours and keeps its traceback.

    Args:
        problem: what is wrong, and where.
        advice: what to do about it; empty where the problem says it.

    Attributes:
        problem, advice: as given, without secrets. The message is "problem; advice".
    """

    def __init__(self, problem: str, advice: str = "") -> None:
        problem, advice = masked(problem), masked(advice)
        super().__init__(problem, advice)  # both: an exception comes out of an actor by its arguments
        self.problem, self.advice = problem, advice

    def __str__(self) -> str:
        return f"{self.problem}; {self.advice}" if self.advice else self.problem


class StorageError(InputError):
    """A disk that is full or may not be written to. The config is not to blame: the same command goes on afterwards."""


def reason_of(error: Exception) -> str:
    """Returns why an operation failed, in a few words on one line.

    For an OSError that is the system's own text ("No space left on device"), because libraries wrap it in more words
    of theirs; for any other exception the first line of its message, and its type where it has none.
    """
    if isinstance(error, OSError):
        if error.errno and type(error).__module__ == "builtins":  # name lookups and TLS number their reasons otherwise
            return os.strerror(error.errno)
        if error.strerror:
            return error.strerror
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def remedy_of(error: Exception) -> str:
    """Returns what to do where an operation failed: "gain access there", "free space there" or "mend that"."""
    number = getattr(error, "errno", None)
    if isinstance(error, PermissionError) or number in DENIED:
        return "gain access there"
    return "free space there" if number in FULL else "mend that"
