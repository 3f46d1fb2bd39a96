"""Files and folders that are there whole or not at all, after a kill and after a power cut too; and for whom.

What is made here is its owner's alone, whatever the umask: folders 0700, files 0600. Two kinds of permission that
somebody set on purpose are kept: those of a file that is replaced, and those of a folder that is shared, which is one
with the set-group-ID bit that its group may write (`chmod 2770`): its group reads and writes what is made in it.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ASIDE = r"\.(.+)\.[0-9a-f]{8}\.tmp"
NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EACCES)  # file systems, and folders that may be written, not read


def make_folders(folder: Path) -> None:
    """Makes a folder and those above it where absent; leaves the permissions of those that exist as they are."""
    if folder.is_dir():
        return
    make_folders(folder.parent)
    with suppress(FileExistsError):  # another process was first
        folder.mkdir(mode=0o700)
        _set_mode(folder, 0o700 | _shared_bits(folder.parent))


@contextmanager
def private_files() -> Iterator[None]:
    """Makes files that other libraries and the processes that they start write their owner's alone."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def aside(path: Path) -> Path:
    """Returns a new hidden name beside `path` to write under until the content is whole."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")


def is_aside(name: str, of: str) -> bool:
    """Whether a file's name is one that `aside` gives for `of`: what a kill leaves."""
    found = re.fullmatch(ASIDE, name)
    return found is not None and found[1] == of


def remove_asides(folder: Path) -> None:
    """Removes what kills left anywhere in a folder in which nobody else writes."""
    for path in list(folder.rglob(".*.tmp")):
        if re.fullmatch(ASIDE, path.name):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


@contextmanager
def whole_file(path: Path, draft: Path | None = None) -> Iterator[Path]:
    """Yields a path to write to. What stands there when the block ends takes the place of `path`.

    The content is on the disk before it is renamed, and the new name before this returns. If the block or the disk
    fails, what was there before stays and nothing else is left.

    Args:
        path: the file to write; its folder exists.
        draft: where to write until then, on the same disk; default: beside `path`, hidden.
    """
    draft = draft or aside(path)
    try:
        mode = _mode_of_file(path)
        with suppress(FileNotFoundError):  # a path without a folder fails where it is written
            # Made so from the first: there is no moment in which others may read it.
            os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        yield draft
        _set_mode(draft, mode)
        _sync(draft)
        draft.replace(path)
    except BaseException:
        with suppress(OSError):
            draft.unlink()
        raise
    _sync_folder(path.parent)


@contextmanager
def whole_folder(path: Path, draft: Path | None = None) -> Iterator[Path]:
    """Yields an empty folder to fill. When the block ends it becomes `path`, with the promises of `whole_file`.

    Args:
        path: the folder to make; folders above it are made where absent. Whoever wants to replace one removes it as
            the block's last act.
        draft: where to fill it until then, on the same disk; default: beside `path`, hidden.

    Raises:
        FileExistsError: `path` holds something when the block ends; another process may have been first.
    """
    draft = draft or aside(path)
    try:
        make_folders(draft.parent)
        draft.mkdir(mode=0o700)
        yield draft
        make_folders(path.parent)
        shared = _shared_bits(path.parent)
        for folder, _, names in os.walk(draft, topdown=False):
            for name in names:
                _set_mode(Path(folder, name), 0o600 | shared & 0o060)
                _sync(Path(folder, name))
            _set_mode(Path(folder), 0o700 | shared)
            _sync_folder(Path(folder))
        try:
            draft.rename(path)
        except OSError as error:
            if path.exists():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
            raise
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    _sync_folder(path.parent)


def _shared_bits(folder: Path) -> int:
    """What the group gets of a folder that is made in this one: all where this one is shared, else nothing."""
    mode = folder.stat().st_mode
    return 0o2070 if mode & stat.S_ISGID and mode & stat.S_IWGRP else 0


def _mode_of_file(path: Path) -> int:
    """The permissions for a file that is about to be written, or replaced."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return 0o600 | (_shared_bits(path.parent) & 0o060 if path.parent.is_dir() else 0)


def _set_mode(path: Path, mode: int) -> None:
    with suppress(OSError):  # file systems that have no permissions, and folders that are another account's
        path.chmod(mode)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_folder(folder: Path) -> None:
    try:
        _sync(folder)
    except OSError as error:
        if error.errno not in NO_FOLDER_SYNC:
            raise
