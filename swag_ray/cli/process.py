"""The process that a command runs in: its streams, encoding and working folder, made fit first."""

from __future__ import annotations

import os
import sys

from swag_ray.errors import InputError, reason_of


def prepare_process() -> None:
    """Makes this process fit to run a command in.

    Streams that are closed lead nowhere; what the terminal cannot show is replaced; all else is UTF-8.

    Raises:
        InputError: the working folder is gone.
    """
    _open_closed_streams()
    _use_utf8()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not where another program has put its own
            stream.reconfigure(errors="replace")
    try:
        os.getcwd()
    except OSError as error:
        raise InputError(
            f"the working folder is gone or cannot be read ({reason_of(error)})", "change to another folder first"
        ) from None


def _open_closed_streams() -> None:
    """Opens the standard streams that are closed on the null device: the next file would else get their number, and
    what is meant for the terminal would be written into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest number that is free
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8", closefd=False))


def _use_utf8() -> None:
    """Begins again in Python's UTF-8 mode where a locale says otherwise: names of files and what Ray's processes write
    would else be in its encoding, which the same config could not be read with elsewhere. The terminal keeps its own.
    """
    if sys.getfilesystemencoding() == "utf-8":
        return
    os.environ.setdefault("PYTHONIOENCODING", f"{sys.stdout.encoding}:replace")
    os.environ["PYTHONUTF8"] = "1"  # of Ray's processes too
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
