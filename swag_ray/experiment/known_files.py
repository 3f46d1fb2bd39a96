"""The store's table of the files of a dataset, which a second run need not hash again.

    STORE/files/<digest of where the dataset is and which classes of it are read>

It is written whole or not at all; of two runs at a time the later one's stands, and both are right.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from swag_ray.config import Config
from swag_ray.errors import StorageError
from swag_ray.images.known import KnownFiles
from swag_ray.store.stages import digest
from swag_ray.store.store import Store

FOLDER = "files"
WHERE = ("kind", "root", "train", "test", "seed_root", "pool_root", "test_root", "manifest", "normal", "anomaly")


@contextmanager
def known_files(config: Config, store: Store) -> Iterator[KnownFiles]:
    """Yields what the store knows of the dataset's files, and keeps what the block adds if it ends well.

    With `dataset.rehash` nothing is known. A table that cannot be read, or is damaged, knows nothing either.

    Raises:
        StorageError: the store cannot be written.
    """
    path = store.path(FOLDER, digest({name: getattr(config.dataset, name) for name in WHERE}))
    known = KnownFiles(None if config.dataset.rehash else _table(store, path))
    yield known
    if not known.changed:
        store.touch(path)
        return
    try:
        store.write_atomically(path, known.data())
    except OSError as error:
        raise store.storage_error(error) from error


def _table(store: Store, path: str) -> bytes | None:
    try:
        return store.read_bytes(path)
    except (FileNotFoundError, NotADirectoryError, StorageError):  # another account's, perhaps
        return None
