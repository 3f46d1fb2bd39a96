"""Files and folders that are there whole or not at all, after a kill and after a power cut too."""

from __future__ import annotations

import errno
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ASIDE = r"\.(.+)\.[0-9a-f]{8}\.tmp"
NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EACCES)  # file systems, and folders that may be written, not read


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
        yield draft
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
        draft.mkdir(parents=True)
        yield draft
        for folder, _, names in os.walk(draft):
            for name in names:
                _sync(Path(folder, name))
            _sync_folder(Path(folder))
        path.parent.mkdir(parents=True, exist_ok=True)
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
