"""The one mechanism behind reuse, resume and sweeps: stages in a store.

A stage is a pure step. Its result is a folder named by the hash of what the step reads: some config fields, the keys
of the stages before it, the version of its own code. A result is written under a temporary name and its completion
marker last; what has no marker does not exist, so a kill at any moment leaves nothing that looks complete, and two
runs on one store do not hurt each other.

    STORE/stages/<name>/<key>/arrays.npz, info.json, complete.json
    STORE/features/<fingerprint>/<shard>.parquet
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import posixpath
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import fs

from swag_ray.errors import InputError, StorageError

Arrays = dict[str, np.ndarray[Any, Any]]

# Raise a stage's number when its code gives other figures; tests/test_golden.py notices when that was forgotten.
VERSIONS = {
    "backbone": 1, "features": 1, "index": 1, "cohort": 1, "bank": 1, "fit": 1, "decide": 1, "supervised": 1,
}  # fmt: skip

MARKER = "complete.json"
PIECE = 4096  # strings of an Arrow column that are Python objects at a time


@dataclass(frozen=True)
class Result:
    """What a stage leaves: named arrays (nothing pickled) and a small JSON record."""

    arrays: Arrays
    info: dict[str, Any] = field(default_factory=dict)


def stage_key(name: str, reads: Mapping[str, Any], after: Iterable[str] = ()) -> str:
    """The name of a stage's result: 24 hex digits over its name, code version, fields read and the keys before it."""
    record = {"stage": name, "version": VERSIONS[name], "reads": reads, "after": list(after)}
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:24]


def digest(*parts: Any) -> str:
    """A content hash of arrays, strings or JSON values, for keys that stand for data.

    An Arrow column of strings counts as the list of them, and stays out of Python's memory.
    """
    sha = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            sha.update(f"{part.dtype.str}{part.shape}".encode())
            sha.update(np.ascontiguousarray(part).tobytes())
        elif isinstance(part, pa.Array | pa.ChunkedArray):
            for text in _json_list(part):
                sha.update(text.encode())
        else:
            sha.update(json.dumps(part, sort_keys=True).encode())
        sha.update(b"\x1e")
    return sha.hexdigest()[:24]


def _json_list(strings: pa.Array | pa.ChunkedArray) -> Iterator[str]:
    """What `json.dumps` makes of the column's list, a piece at a time."""
    yield "["
    for start in range(0, len(strings), PIECE):
        yield (", " if start else "") + json.dumps(strings.slice(start, PIECE).to_pylist())[1:-1]
    yield "]"


def fold_arrays(arrays: Arrays, folds: int) -> tuple[Arrays, ...]:
    """Flat `fold<k>.<name>` arrays as one dict a fold."""
    out: tuple[Arrays, ...] = tuple({} for _ in range(folds))
    for name, array in arrays.items():
        fold, rest = name.split(".", 1)
        out[int(fold.removeprefix("fold"))][rest] = array
    return out


class Store:
    """A folder, or an s3:// prefix, that holds stage results and feature shards.

    Args:
        root: a local path (`~` is expanded) or an `s3://bucket/prefix` URI.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = str(root)
        self.computed: list[tuple[str, str, float]] = []  # (stage, key, seconds) that this object had to compute
        self.local = "://" not in self.root
        if self.local:
            self.base = str(Path(self.root).expanduser().absolute())
            self.fs: fs.FileSystem = fs.LocalFileSystem()
        else:
            if not self.root.startswith("s3://"):  # others are tried for minutes
                raise InputError(f"store: '{self.root}' is not a path or an s3:// address")
            try:
                self.fs, self.base = fs.FileSystem.from_uri(self.root)
            except Exception as error:
                raise InputError(f"store: '{self.root}' is not a path or an s3:// address: {error}") from error

    def path(self, *parts: str) -> str:
        """A path inside the store, as its file system spells it."""
        return posixpath.join(self.base, *parts)

    def stage(
        self,
        name: str,
        key: str,
        compute: Callable[[], Result],
        keep: Callable[[str, Result], None] | None = None,
    ) -> Result:
        """The stage's result: read if it is there, else computed and kept.

        Args:
            keep: keeps (key, result) in place of `save`: for what another process writes.
        """
        found = self.load(name, key)
        if found is not None:
            return found
        start = time.perf_counter()
        result = compute()
        if keep is None:
            self.save(name, key, result)
        else:
            keep(key, result)
        self.computed.append((name, key, time.perf_counter() - start))
        return result

    def load(self, name: str, key: str) -> Result | None:
        """A complete, undamaged result, or None. A damaged one is removed, to be computed again."""
        folder = self.path("stages", name, key)
        try:
            marker = json.loads(self.read_bytes(posixpath.join(folder, MARKER)))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError):
            self._remove(folder)
            return None
        try:
            files = {file: self.read_bytes(posixpath.join(folder, file)) for file in marker["files"]}
            if any(hashlib.sha256(data).hexdigest() != marker["files"][file] for file, data in files.items()):
                raise ValueError("checksum")
            with np.load(io.BytesIO(files["arrays.npz"]), allow_pickle=False) as arrays:
                return Result({k: arrays[k] for k in arrays.files}, json.loads(files["info.json"]))
        except (OSError, ValueError, KeyError, TypeError):
            self._remove(folder)
            return None

    def has(self, name: str, key: str) -> bool:
        """Whether a complete result is there (its content is checked when it is loaded)."""
        return self.exists(self.path("stages", name, key, MARKER))

    def save(self, name: str, key: str, result: Result) -> None:
        """Keep a result: all files, then the marker, and on a local disk one rename at the end."""
        buffer = io.BytesIO()
        np.savez(buffer, **result.arrays)  # type: ignore[arg-type]
        files = {"arrays.npz": buffer.getvalue(), "info.json": json.dumps(result.info, sort_keys=True).encode()}
        marker = {"stage": name, "files": {file: hashlib.sha256(data).hexdigest() for file, data in files.items()}}
        final = self.path("stages", name, key)
        folder = self.path("tmp", f"{name}-{key}-{uuid.uuid4().hex[:8]}") if self.local else final
        try:
            for file, data in files.items():
                self.write_bytes(posixpath.join(folder, file), data)
            self.write_bytes(posixpath.join(folder, MARKER), json.dumps(marker).encode())
            if self.local:
                self._publish(folder, final)
        except OSError as error:
            if self.local:
                self._remove(folder)
            raise self.unusable(error) from error

    def write_atomically(self, path: str, data: bytes) -> None:
        """One file that is there whole or not at all (an object store's put already is)."""
        if not self.local:
            self.write_bytes(path, data)
            return
        temporary = self.path("tmp", f"{posixpath.basename(path)}-{uuid.uuid4().hex[:8]}")
        try:
            self.write_bytes(temporary, data)
            self.fs.create_dir(posixpath.dirname(path), recursive=True)
            self.fs.move(temporary, path)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise

    def read_bytes(self, path: str) -> bytes:
        with self.fs.open_input_file(path) as file:
            return bytes(file.read())

    def write_bytes(self, path: str, data: bytes) -> None:
        if self.local:
            self.fs.create_dir(posixpath.dirname(path), recursive=True)
        with self.fs.open_output_stream(path) as file:
            file.write(data)

    def exists(self, path: str) -> bool:
        return bool(self.fs.get_file_info(path).type != fs.FileType.NotFound)

    def files(self, *parts: str) -> list[fs.FileInfo]:
        """The files under a folder of the store, at any depth; none when it does not exist."""
        selector = fs.FileSelector(self.path(*parts), allow_not_found=True, recursive=True)
        return [info for info in self.fs.get_file_info(selector) if info.type == fs.FileType.File]

    def check_writable(self) -> None:
        """Refuse a store that cannot be written to, before any work is done for it."""
        probe = self.path("tmp", f"probe-{uuid.uuid4().hex[:8]}")
        try:
            self.write_bytes(probe, b"")
            self.fs.delete_file(probe)
        except OSError as error:
            raise self.unusable(error) from error

    def unusable(self, error: OSError) -> StorageError:
        """The one line for a store on which a write failed."""
        # Arrow's own wording wraps the reason in more words; an s3 store has no number.
        reason = os.strerror(error.errno) if error.errno else str(error).splitlines()[0]
        return StorageError(f"store: cannot write to '{self.root}' ({reason}); free space there or set another `store`")

    def _publish(self, folder: str, final: str) -> None:
        self.fs.create_dir(posixpath.dirname(final), recursive=True)
        try:
            Path(folder).rename(final)
        except OSError:
            if self.exists(posixpath.join(final, MARKER)):
                self._remove(folder)  # another run finished the same stage first: the results are the same
            else:
                self._remove(final)  # what has no marker does not exist: left by a removal that was killed half-way
                Path(folder).rename(final)

    def _remove(self, folder: str) -> None:
        try:
            self.fs.delete_dir(folder)
        except (FileNotFoundError, OSError):
            return
