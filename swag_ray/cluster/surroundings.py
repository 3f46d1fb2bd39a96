"""What a local Ray needs of the machine and the account around it, found out before it starts. Imports no Ray.

Ray itself fails late and in many ways: a socket's path too long, a folder of somebody else's, a process that is aborted
because it may open too few files.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from swag_ray.errors import InputError
from swag_ray.wording import size

PREFIX = "ray-"
SYSTEM_FOLDERS = ("/tmp", "/var/tmp")
# Ray's sockets lie in FOLDER/ray-12345678/session_2026-01-31_12-00-00_123456_4194304/sockets/plasma_store.
BELOW = len("/ray-12345678/session_2026-01-31_12-00-00_123456_4194304/sockets/plasma_store")
SOCKET = 107 if sys.platform == "linux" else 103  # bytes of a socket's path, unix(7)
LONGEST = SOCKET - BELOW
ROOM = 64 * 2**20  # bytes; logs of a short session
OPEN_FILES = 256  # a session of one actor opens more than 200 at a time
ADDRESSES = 8 * 2**30  # bytes of addresses; a process of Ray and torch reserves some 8 GB and uses little of it


@dataclass(frozen=True)
class Place:
    """Where the folder of a local Ray's session is made.

    Attributes:
        folder: exists or can be made.
        refused: (name of the variable or "", folder, why not) of each folder that was wanted before it.
    """

    folder: str
    refused: tuple[tuple[str, str, str], ...] = ()


def session_place() -> Place:
    """Returns the first folder that a session fits into: RAY_TMPDIR, TMPDIR, then those of the system.

    Raises:
        InputError: there is none.
    """
    refused: list[tuple[str, str, str]] = []
    for variable, folder in _wanted():
        reason = unfit(folder)
        if not reason:
            return Place(folder, tuple(refused))
        refused.append((variable, folder, reason))
    tried = ", ".join(f"'{folder}' {reason}" for _, folder, reason in refused)
    raise InputError(
        f"cluster: no folder for Ray's session ({tried})",
        f"set RAY_TMPDIR to a folder that you may write, with room, whose path has at most {LONGEST} bytes",
    )


def unfit(folder: str) -> str:
    """Returns why a session cannot lie in this folder, in a few words; empty where it can."""
    length = len(os.fsencode(folder.rstrip("/")))
    if not os.path.isabs(folder):
        return "is not an absolute path"
    if length > LONGEST:
        return f"is too long for Ray's sockets ({length} bytes, at most {LONGEST})"
    environment = os.environ.get("VIRTUAL_ENV")
    if environment and Path(folder).is_relative_to(environment):
        return "lies in the virtual environment, which Ray refuses"
    place = Path(folder)
    # os.path, because Path.exists raises where a folder above is closed to this account.
    place = next(path for path in (place, *place.parents) if os.path.exists(path))
    if not os.path.isdir(place):
        return "is not a folder"
    if not os.access(place, os.W_OK | os.X_OK):
        return "may not be written to"
    free = shutil.disk_usage(place).free
    return f"has no room ({size(free)} free)" if free < ROOM else ""


def check_limits(object_store: int = 0) -> None:
    """Refuses limits of this process under which Ray's processes are aborted rather than fail.

    Args:
        object_store: bytes of the object store that is asked for; 0 where Ray chooses.

    Raises:
        InputError: the first that is too low, and how to raise it.
    """
    for problem, advice in low_limits(object_store):
        raise InputError(f"cluster: {problem}", advice)


def low_limits(object_store: int = 0) -> Iterator[tuple[str, str]]:
    """Yields (what is too low for a local Ray, what to do about it) per limit of this process."""
    try:
        import resource
    except ImportError:  # not on Windows
        return
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]  # Ray raises its own to the hard limit
    if files != resource.RLIM_INFINITY and files < OPEN_FILES:
        yield (
            f"Ray cannot start where a process may open {files} files only (ulimit -n)",
            f"allow at least {OPEN_FILES}, better 65536",
        )
    addresses = resource.getrlimit(resource.RLIMIT_AS)[0]
    if addresses != resource.RLIM_INFINITY and addresses < ADDRESSES + object_store:
        yield (
            f"Ray cannot start where a process may have {size(addresses)} of addresses only (ulimit -v)",
            "run `ulimit -v unlimited` first, and limit memory by a container or the scheduler",
        )


def reason_and_advice(error: BaseException) -> tuple[str, str]:
    """Returns why Ray did not start, and what to do, of what it raised."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return "there is not enough memory", "end other programs, or run on a machine with more"
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return "too many files are open", "allow more (ulimit -n)"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "no space is left", "make room in RAY_TMPDIR or /tmp, or set RAY_TMPDIR to a folder with room"
    if isinstance(error, OSError) and error.errno and error.filename:
        return f"'{error.filename}': {os.strerror(error.errno)}", "this account must be able to read and write it"
    if "timed out" in text or "failed to start" in text.lower() or "GCS" in text:
        return (
            "its processes did not come up in time",
            "the machine may be too busy, or short of memory or processes (ulimit -u): try again, "
            "end other programs, or ask `swag-ray doctor`",
        )
    return text, "ask `swag-ray doctor`, or try again"


def _wanted() -> Iterator[tuple[str, str]]:
    """(variable, folder) in the order in which they are wanted."""
    for variable in ("RAY_TMPDIR", "TMPDIR"):
        if os.environ.get(variable) and (variable == "RAY_TMPDIR" or sys.platform == "linux"):
            yield variable, os.environ[variable]
    for folder in SYSTEM_FOLDERS:
        yield "", folder
