"""Where images lie: a folder of this machine, or one on `s3://`, that are listed and read alike."""

from __future__ import annotations

import io
import os
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pyarrow import fs

from swag_ray.errors import InputError
from swag_ray.store import s3

SCHEME = "s3://"


@dataclass(frozen=True, slots=True)
class RemotePath:
    """A folder or file on `s3://`; what is needed of `pathlib.Path`.

    Attributes:
        server: the address of the bucket, with the options of `store.s3`: "s3://BUCKET", "s3://BUCKET?region=R".
        key: bucket and path within it, as pyarrow spells it.
    """

    server: str
    key: str

    @classmethod
    def parse(cls, address: str, called: str = "dataset") -> RemotePath:
        """Takes an address apart. What stands behind options belongs to the path: `ADDRESS?region=R/train/a.png`.

        Raises:
            InputError: no bucket, or an option that there is not.
        """
        place, mark, rest = address.removeprefix(SCHEME).partition("?")
        options, _, tail = rest.partition("/")
        bucket, _, path = place.partition("/")
        server = f"{SCHEME}{bucket}{mark}{options}"
        s3.parse(server, called)
        return cls(server, posixpath.join(bucket, *(part for part in f"{path}/{tail}".split("/") if part)))

    def __str__(self) -> str:
        bucket, mark, options = self.server.partition("?")
        path = self.key.partition("/")[2]
        return f"{bucket}{f'/{path}' if path else ''}{mark}{options}"

    def __truediv__(self, name: str) -> RemotePath:
        return RemotePath(self.server, posixpath.join(self.key, name))

    @property
    def name(self) -> str:
        return posixpath.basename(self.key)

    @property
    def parent(self) -> RemotePath:
        return RemotePath(self.server, posixpath.dirname(self.key))

    @property
    def suffix(self) -> str:
        return posixpath.splitext(self.name)[1]

    def read_bytes(self) -> bytes:
        """Returns the file's content. Raises OSError."""
        with _connect(self.server).open_input_file(self.key) as file:
            data: bytes = file.read()
            return data

    def open(self, mode: str = "rb") -> io.BytesIO:
        """Returns the file's content as a file; it is read at once. Raises OSError."""
        return io.BytesIO(self.read_bytes())

    def entries(self) -> list[RemoteEntry]:
        """Returns what lies in the folder, sorted by name. Raises OSError where there is no such folder."""
        found = _connect(self.server).get_file_info(fs.FileSelector(self.key))
        return sorted(
            (RemoteEntry(info.base_name, str(self / info.base_name), info.type) for info in found if info.base_name),
            key=lambda entry: entry.name,
        )

    def is_dir(self) -> bool:
        return bool(_connect(self.server).get_file_info(self.key).type == fs.FileType.Directory)

    def is_file(self) -> bool:
        return bool(_connect(self.server).get_file_info(self.key).type == fs.FileType.File)


@dataclass(frozen=True, slots=True)
class RemoteEntry:
    """What `os.DirEntry` says of a file, of one on `s3://`."""

    name: str
    path: str
    kind: fs.FileType

    def is_dir(self) -> bool:
        return bool(self.kind == fs.FileType.Directory)

    def is_file(self) -> bool:
        return bool(self.kind == fs.FileType.File)

    def is_symlink(self) -> bool:
        return False


Place = Path | RemotePath


def locate(place: str | Path, called: str = "dataset") -> Place:
    """Returns a path or an `s3://` address as a place.

    Raises:
        InputError: an address that names no bucket.
    """
    if str(place).startswith(SCHEME):
        return RemotePath.parse(str(place), called)
    return Path(place)


def is_remote(place: Place) -> bool:
    """Whether a place is on `s3://`."""
    return isinstance(place, RemotePath)


def size_and_time(place: Place) -> tuple[int, int] | None:
    """Returns a file's bytes and the time of its last change, ns; None where it cannot be read."""
    try:
        if isinstance(place, Path):
            seen = place.stat()
            return seen.st_size, seen.st_mtime_ns
        found = _connect(place.server).get_file_info(place.key)
    except OSError:
        return None
    return None if found.mtime_ns is None else (int(found.size or 0), int(found.mtime_ns))


def below(root: Place, folder: Place) -> str:
    """Returns the way from a folder to one below it, with / at its end; "" where they are one.

    Raises:
        ValueError: it is not below it.
    """
    if isinstance(root, RemotePath) and isinstance(folder, RemotePath):
        way = posixpath.relpath(folder.key, root.key)
    elif isinstance(root, Path) and isinstance(folder, Path):
        way = folder.relative_to(root).as_posix()
    else:
        raise ValueError(f"{folder} is not below {root}")
    if way.startswith(".."):
        raise ValueError(f"{folder} is not below {root}")
    return "" if way == "." else f"{way}/"


def common_root(places: Sequence[Place], called: str) -> Place:
    """Returns the deepest folder that holds all of some folders.

    Raises:
        InputError: they are not on one disk, or not in one bucket.
    """
    remote = [place for place in places if isinstance(place, RemotePath)]
    if not remote:
        return Path(os.path.commonpath([str(place) for place in places]))
    servers = {place.server for place in remote}
    if len(remote) < len(places) or len(servers) > 1:
        raise InputError(
            f"{called}: images lie in several places ({places[0]}, {places[-1]})", "keep them in one bucket"
        )
    return RemotePath(remote[0].server, posixpath.commonpath([place.key for place in remote]))


@cache
def _connect(server: str) -> fs.FileSystem:
    """One connection a process and bucket: its threads share it."""
    return s3.connect(s3.parse(server, "dataset"), server, "dataset")
