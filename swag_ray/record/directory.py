"""The folder of a run or sweep: whose it is, and who alone may write to it."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from swag_ray.errors import InputError, StorageError, reason_of
from swag_ray.record.files import LOCK_FILE, SOFT_LOCK_FILE, explain_write_errors, write_text
from swag_ray.system.files import is_aside, make_folders, remove_asides

if TYPE_CHECKING:
    from filelock import BaseFileLock

LOCKS = (LOCK_FILE, SOFT_LOCK_FILE)
# What locking says where a file system has none, such as NFS without its lock daemon.
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)
STARTING = 1.0  # seconds within which another process that starts has written whose the folder is


class FolderBusy(InputError):
    """Another process is at work in the folder."""


class FolderTaken(InputError):
    """The folder holds another run or sweep."""


def check_directory(directory: Path, file: str, other: Callable[[Path], str], advice: str) -> None:
    """Refuses a folder that cannot become or stay this run's or sweep's. Touches nothing.

    Args:
        file: name of the file that claims the folder.
        other: reads the claim found there; returns what holds the folder, and nothing where that is this run or sweep.
        advice: what to do where it is another's.

    Raises:
        FolderTaken: the folder is another's.
        InputError: it holds foreign files, or cannot be written.
    """
    with explain_write_errors(directory):
        existing = sorted(p.name for p in directory.iterdir()) if directory.exists() else []
        existing = [name for name in existing if name not in LOCKS and not is_aside(name, file)]  # left by a kill
        place = next(p for p in (directory.absolute(), *directory.absolute().parents) if p.exists())
        if not place.is_dir():
            raise NotADirectoryError(0, f"'{place}' is a file")
        if not os.access(place, os.W_OK | os.X_OK):
            raise PermissionError(0, f"'{place}' is read-only")
    if file in existing:
        holder = other(directory / file)
        if holder:
            raise FolderTaken(f"--out: '{directory}' holds {holder}", advice)
    elif existing:
        raise InputError(
            f"--out: '{directory}' holds something else ('{existing[0]}')", "choose an empty or new folder"
        )


@contextmanager
def held(directory: Path, check: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Makes the folder where it is absent, and holds it alone for as long as the block works.

    A folder that was made and stays empty is removed again.

    Args:
        check: refuses the folder; called before anything is touched, and again once nobody else can change it.

    Raises:
        InputError: what `check` raises; the folder cannot be written or locked; another process is at work in it.
    """
    made, deadline = False, time.monotonic() + STARTING
    with ExitStack() as stack:
        try:
            while True:
                check()
                with explain_write_errors(directory):
                    made |= not directory.exists()
                    make_folders(directory)
                try:
                    stack.enter_context(locked(directory))
                    break
                except FolderBusy:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.1)
            check()
            with explain_write_errors(directory):
                remove_asides(directory)
            yield
        finally:
            stack.close()
            if made:
                with suppress(OSError):
                    directory.rmdir()  # refused where anything is in it


@contextmanager
def claim(directory: Path, file: str, text: str, check: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Makes the folder this run's or sweep's, alone, for as long as it works; see `held`.

    Args:
        file, text: what claims it: the config.

    Raises:
        InputError: see `held`.
    """
    with held(directory, check), claim_held(directory, file, text):
        yield


@contextmanager
def claim_held(directory: Path, file: str, text: str) -> Iterator[None]:
    """Writes whose the folder is, which this process holds already.

    A bad input that shows only now, before there is anything to keep, leaves no claim behind: whoever mends the config
    would else be told that the folder holds a run of another one.
    """
    fresh = not (directory / file).exists()
    with explain_write_errors(directory):
        write_text(directory / file, text)
    try:
        yield
    except StorageError:
        raise
    except InputError:
        if fresh and {p.name for p in directory.iterdir()} <= {file, *LOCKS}:
            (directory / file).unlink()
        raise


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Holds the folder's lock. It ends with the process, however that ends.

    Raises:
        FolderBusy: another process holds it.
        StorageError: it cannot be taken for another reason; without it two runs could mix their files.
    """
    lock = _acquire(directory)
    try:
        yield
    finally:
        # Removed while it is held: whoever has opened it meanwhile finds that it has no name, and takes a new one.
        with suppress(OSError):
            (directory / LOCK_FILE).unlink()
        lock.release()


def _acquire(directory: Path) -> BaseFileLock:
    from filelock import FileLock, SoftFileLock, Timeout

    busy, advice = f"--out: a run is at work in '{directory}'", "wait for it or choose another folder"
    try:
        return _taken(FileLock(directory / LOCK_FILE, timeout=0))
    except Timeout:
        raise FolderBusy(busy, advice) from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise _unlockable(directory, error) from error
    with suppress(OSError):
        (directory / LOCK_FILE).unlink()  # it could not be locked, so it says nothing
    # Here the file alone says that somebody is at work. One that a killed process of this machine left counts no more.
    soft = directory / SOFT_LOCK_FILE
    try:
        return _taken(SoftFileLock(soft, timeout=0))
    except Timeout:
        raise FolderBusy(busy, f"{advice}; if none is at work on any machine, remove '{soft}'") from None
    except OSError as error:
        raise _unlockable(directory, error) from error


def _taken(lock: BaseFileLock) -> BaseFileLock:
    lock.acquire()
    return lock


def _unlockable(directory: Path, error: OSError) -> StorageError:
    return StorageError(
        f"--out: cannot lock '{directory}' ({reason_of(error)})", "gain access there, or choose another folder"
    )
