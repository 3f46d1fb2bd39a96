"""Who works with a store just now, so that pruning it leaves a run in progress what it needs.

    STORE/in-use/<when its process began, in seconds since 1970>-<8 hex digits>

A mark is renewed while its process lives. What was used since the oldest living mark began is not pruned; every entry
says by its time stamp when it was last used (see `Store.touch`).
"""

from __future__ import annotations

import posixpath
import re
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from swag_ray.errors import StorageError
from swag_ray.store.store import TOUCHED, Store

FOLDER, MARK = "in-use", r"(\d+)-[0-9a-f]{8}"
USED = "used"  # features/<fingerprint>/used: when the shards of an s3:// store were last used
BEAT = 60.0  # seconds between two renewals
DEAD = 600.0  # after so many seconds without one, its process has ended
DAY = 86400.0


@contextmanager
def in_use(store: Store) -> Iterator[None]:
    """Marks the store as in use while the block works, and removes what processes that were killed left half-written.

    Raises:
        StorageError: the store cannot be written.
    """
    _remove_leftovers(store)
    path = store.path(FOLDER, f"{time.time():.0f}-{uuid.uuid4().hex[:8]}")
    _renew(store, path)
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(BEAT):
            with suppress(StorageError):  # the run itself will find out what is wrong
                _renew(store, path)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        with suppress(StorageError):
            store.delete(path)


def used_since(store: Store, now: float) -> float | None:
    """Returns from when on runs in progress may need what was used, in seconds since 1970; None without any."""
    alive = [info.path for info in store.files(FOLDER) if info.mtime and now - info.mtime.timestamp() < DEAD]
    began = [int(found[1]) for path in alive if (found := re.fullmatch(MARK, posixpath.basename(path)))]
    return min(began) - TOUCHED if began else None


def note_shards_used(store: Store, fingerprint: str, shards: list[str]) -> None:
    """Notes that shards are used now: each on a local disk, all of the folder by one small object on s3://."""
    if store.local:
        for name in shards:
            store.touch(store.path("features", fingerprint, name))
        return
    try:
        store.write_bytes(store.path("features", fingerprint, USED), b"")
    except OSError as error:
        raise store.storage_error(error) from error


def _renew(store: Store, path: str) -> None:
    try:
        store.write_bytes(path, b"")
    except OSError as error:
        raise store.storage_error(error) from error


def _remove_leftovers(store: Store) -> None:
    """Removes drafts and marks that nobody has written to for a day: their processes were killed."""
    old = time.time() - DAY
    for folder in ("tmp", FOLDER) if store.local else ():  # on s3:// nothing is drafted
        for info in store.entries(folder):
            if info.mtime is not None and info.mtime.timestamp() < old:
                with suppress(StorageError):
                    store.delete(info.path)
