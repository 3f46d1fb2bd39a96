"""The process that a command runs in: its streams, encoding and working folder, made fit; who writes to them."""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

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


@contextmanager
def terminal_kept_for_us() -> Iterator[None]:
    """Keeps what Ray and other libraries say off the terminal; after a fault of ours it says where that is."""
    with warnings.catch_warnings(), _streams_kept_for_us() as log:
        warnings.simplefilter("ignore")
        try:
            yield
        except (InputError, KeyboardInterrupt):
            log.unlink(missing_ok=True)
            raise
        except BaseException:
            print(f"swag-ray: what Ray and other libraries said is in {log}", file=sys.stderr)
            raise
        log.unlink(missing_ok=True)


@contextmanager
def _streams_kept_for_us() -> Iterator[Path]:
    """Ray's C++ core and its processes write straight to file descriptors 1 and 2: give them a file, and keep the
    terminal, or what reads our JSON, for Python's stdout and stderr.
    """
    try:
        handle, name = tempfile.mkstemp(prefix="swag-ray-", suffix=".log")
    except OSError as error:
        raise InputError(
            f"no file can be made for temporary use ({reason_of(error)})", "set TMPDIR to a folder with room"
        ) from error
    try:
        with _kept_for_us("stdout", 1, handle), _kept_for_us("stderr", 2, handle):
            yield Path(name)
    finally:
        os.close(handle)


@contextmanager
def _kept_for_us(stream: str, number: int, elsewhere: int) -> Iterator[None]:
    """Sends to `elsewhere` what goes to a file descriptor other than through this stream of Python's."""
    ours: TextIO | None = getattr(sys, stream)
    try:
        terminal = os.dup(number)
    except OSError:  # closed: there is nothing to keep
        yield
        return
    if ours is not None:
        with suppress(OSError):
            ours.flush()
    encoding = ours.encoding if ours is not None else None
    kept = os.fdopen(os.dup(number), "w", buffering=1, encoding=encoding, errors="replace")
    gone = OSError if os.isatty(terminal) else BrokenPipeError  # of a terminal that was closed, or `| head`
    setattr(sys, stream, kept)
    os.dup2(elsewhere, number)
    try:
        yield
    finally:
        os.dup2(terminal, number)
        os.close(terminal)
        setattr(sys, stream, ours)
        with suppress(gone):  # no failure of ours
            kept.close()
