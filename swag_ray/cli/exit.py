"""How a command ends: exit codes, complaints in one line, interruptions."""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

from swag_ray.masking import masked

if TYPE_CHECKING:
    from swag_ray.progress import Progress


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO)  # of a stream that takes no more


def usage_error(error: Exception) -> int:
    """A wrong command line is bad input; anything else is our fault and keeps its traceback."""
    # Newer Typers have a copy of click inside: what a complaint offers tells it, not its class.
    complaint = getattr(error, "format_message", None)
    if isinstance(error, RuntimeError) and "home directory" in str(error):  # pathlib's words; it has no class for it
        print("swag-ray: a path with ~ lies in a home folder, and there is none; set HOME", file=sys.stderr)
        return 2
    if complaint is None and isinstance(error, OSError) and (line := _of_the_system(error)):
        print(f"swag-ray: {as_one_line(line)}", file=sys.stderr)
        return 2
    if complaint is None:
        sys.excepthook = masked_traceback
        raise error
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        print(complaint(), end="", file=sys.stderr)  # with rich, the help is printed already
    else:
        command = context.command_path if context is not None else "swag-ray"
        print(f"swag-ray: {as_one_line(complaint())} (see `{command} --help`)", file=sys.stderr)
    return 2


def _of_the_system(error: OSError) -> str:
    """The line for what only the user can give: access to a file, or room for what we print. Else nothing."""
    if isinstance(error, PermissionError) and error.filename:
        return f"'{error.filename}' is closed to this account ({error.strerror}); gain access to it"
    if error.errno in FULL and not error.filename:
        return f"the output cannot be written ({error.strerror}); make room, or send it elsewhere"
    return ""


def masked_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Prints a fault of ours as Python does, without secrets."""
    print(masked("".join(traceback.format_exception(kind, error, trace))), end="", file=sys.stderr)


def as_one_line(message: object) -> str:
    """One line without secrets, whatever other libraries put into a reason."""
    return masked(" ".join(str(message).split()))


def flushed(code: int) -> int:
    """The exit code; a reader of our output that went away (`| head`) is no failure."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError) and code == 0:
            return usage_error(error)
    return code


def other_ends() -> list[signal.Signals]:
    """Returns the signals by which a command is ended otherwise than by Ctrl-C."""
    nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # then to go on is what was asked for
    return [signal.SIGTERM] if nohup else [signal.SIGTERM, signal.SIGHUP]


@contextmanager
def interruptible(progress: Progress) -> Iterator[None]:
    """A scheduler's kill or a closed terminal ends as cleanly as Ctrl-C; all are remembered for the next phase."""
    asked: list[int] = []

    def interrupt(number: int, _: Any) -> NoReturn:
        asked.append(number)
        raise KeyboardInterrupt

    for number in (signal.SIGINT, *other_ends()):
        signal.signal(number, interrupt)
    progress.interrupted = lambda: bool(asked)
    yield
