"""The store: a folder or an s3:// prefix that keeps results by key."""

from __future__ import annotations

import hashlib
import io
import json
import os
import posixpath
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow.fs import FileInfo, FileSelector, FileSystem, FileType, LocalFileSystem

from swag_ray.errors import InputError, StorageError, reason_of, remedy_of
from swag_ray.store import s3
from swag_ray.store.stages import Result
from swag_ray.system.files import make_folders, whole_file, whole_folder

MARKER, ARRAYS, INFO = "complete.json", "arrays.npz", "info.json"
FORMAT = 1  # of a stage's files. A larger number is a newer version's, whose files are left alone.
TOUCHED = 3600.0  # seconds within which a second use of an entry is not noted again


class Store:
    """A folder, or an s3:// prefix, that holds stage results and feature shards.

    Args:
        root: a local path (`~` is expanded) or an `s3://bucket/prefix` address (see swag_ray/s3.py).
        called: what the user gave it as, for messages.
    """

    def __init__(self, root: str | Path, called: str = "store") -> None:
        self.root, self.called = str(root), called
        self.computed: list[tuple[str, str, float]] = []  # (stage, key, seconds) that this object had to compute
        self.local = "://" not in self.root
        if self.local:
            try:
                self.base = str(Path(self.root).expanduser().absolute())
            except RuntimeError:
                raise InputError(
                    f"{called}: '{self.root}' lies in a home folder, and there is none",
                    "set HOME, or give another path",
                ) from None
        elif self.root.startswith("s3://"):  # others are tried for minutes
            self._address = s3.parse(self.root, called)
            self.base = self._address.path
        else:
            raise InputError(f"{called}: '{self.root}' is not a path or an s3:// address")

    @cached_property
    def fs(self) -> FileSystem:
        """The file system. An s3:// one is connected to when first needed, and refused if its bucket is not there."""
        return LocalFileSystem() if self.local else s3.connect(self._address, self.root, self.called)

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
        with self.computing(name, key) as patience:
            found = None if patience is None else self._look_again(name, key, patience)
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

    @contextmanager
    def computing(self, name: str, key: str) -> Iterator[float | None]:
        """Hold while the stage is computed. Yields the seconds within which somebody else's result of it may turn up;
        None where nobody else can have computed it.
        """
        yield None

    def _look_again(self, name: str, key: str, patience: float) -> Result | None:
        deadline = time.monotonic() + patience
        while (found := self.load(name, key)) is None and time.monotonic() < deadline:
            self.entries("stages", name)  # opening the folder has NFS ask its server again
            self.entries("stages", name, key)
            time.sleep(min(0.2, patience))
        return found

    def load(self, name: str, key: str) -> Result | None:
        """A complete, undamaged result, or None. One that was read and found damaged is removed, to be computed again.

        Raises:
            StorageError: it could not be read, which says nothing about it.
            InputError: a newer version of swag-ray has written it.
        """
        folder = self.path("stages", name, key)
        try:
            marker = self._read_used(posixpath.join(folder, MARKER))
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            files = _files_of(marker)
        except (ValueError, LookupError, TypeError, AttributeError):
            self._discard(folder, ())
            return None
        if files is None:
            raise self.newer(folder)
        content = {}
        for file, sha in files.items():
            try:
                content[file.rpartition("-")[2]] = data = self.read_bytes(posixpath.join(folder, file))
            except FileNotFoundError:
                data = b""
            if hashlib.sha256(data).hexdigest() != sha:
                self._discard(folder, files)
                return None
        # From here on the files are what was written: whatever goes wrong is no damage, and removes nothing.
        with np.load(io.BytesIO(content[ARRAYS]), allow_pickle=False) as arrays:
            return Result({k: arrays[k] for k in arrays.files}, json.loads(content[INFO]))

    def has(self, name: str, key: str) -> bool:
        """Whether a complete result is there (its content is checked when it is loaded)."""
        return self.exists(self.path("stages", name, key, MARKER))

    def save(self, name: str, key: str, result: Result) -> None:
        """Keep a result: all files, then the marker, and on a local disk one rename at the end."""
        buffer = io.BytesIO()
        if any(array.dtype.hasobject for array in result.arrays.values()):
            raise TypeError(f"stage {name}: nothing pickled is kept")
        np.savez(buffer, **result.arrays)  # type: ignore[arg-type]
        parts = {ARRAYS: buffer.getvalue(), INFO: json.dumps(result.info, sort_keys=True).encode()}
        sha = {part: hashlib.sha256(data).hexdigest() for part, data in parts.items()}
        names = {part: part if self.local else f"{sha[part][:16]}-{part}" for part in parts}
        marker = {"stage": name, "format": FORMAT, "files": {names[part]: sha[part] for part in parts}}
        if not self.local and self.has(name, key):
            return  # another run finished the same stage first: the results are the same
        content = {names[part]: data for part, data in parts.items()} | {MARKER: json.dumps(marker).encode()}
        try:
            if self.local:
                self._save_folder(name, key, content)
            else:
                for file, data in content.items():
                    self.write_bytes(self.path("stages", name, key, file), data)
        except OSError as error:
            raise self.storage_error(error) from error

    def _save_folder(self, name: str, key: str, content: dict[str, bytes]) -> None:
        final = self.path("stages", name, key)
        draft = self.path("tmp", f"{name}-{key}-{uuid.uuid4().hex[:8]}")
        try:
            with whole_folder(Path(final), Path(draft)) as folder:
                for file, data in content.items():
                    self.write_bytes(str(folder / file), data)
                # In this order: what another writer puts there in between is whole, and stays.
                if Path(final).exists() and not self.has(name, key):
                    self._remove(final)  # what has no marker does not exist: left by a removal that was killed half-way
        except FileExistsError:
            if not self.has(name, key):
                raise
            # Else another run finished the same stage first: the results are the same.

    def write_atomically(self, path: str, data: bytes | pa.Buffer) -> None:
        """One file that is there whole or not at all (an object store's put already is)."""
        if not self.local:
            self.write_bytes(path, data)
            return
        draft = self.path("tmp", f"{posixpath.basename(path)}-{uuid.uuid4().hex[:8]}")
        for folder in {posixpath.dirname(path), posixpath.dirname(draft)}:
            make_folders(Path(folder))
        with whole_file(Path(path), Path(draft)) as temporary:
            temporary.write_bytes(data)

    def read_bytes(self, path: str) -> bytes:
        """A whole file.

        Raises:
            FileNotFoundError, NotADirectoryError: it is not there.
            StorageError: it may be there, but cannot be read.
        """
        return self._read(path)[0]

    def _read(self, path: str) -> tuple[bytes, float | None]:
        """A whole file, and on s3:// when it was written, in seconds since 1970."""
        try:
            with self.fs.open_input_file(path) as file:
                data = bytes(file.read())
                return data, None if self.local else _written(file.metadata())
        except (FileNotFoundError, NotADirectoryError):
            raise
        except OSError as error:
            if s3.gone(error):
                raise FileNotFoundError(path) from error
            raise self.storage_error(error, "read") from error

    def touch(self, path: str) -> None:
        """Notes that a file of a local store is used now: `store prune` counts from then. Costs one look at it."""
        if not self.local:
            return
        with suppress(OSError):  # gone, or a store that may only be read
            if time.time() - os.stat(path).st_mtime > TOUCHED:
                os.utime(path)

    def _read_used(self, path: str) -> bytes:
        """A small file, noted as used. On s3:// it is written again for that, if it is old."""
        data, written = self._read(path)
        if self.local:
            self.touch(path)
        elif written is not None and time.time() - written > TOUCHED:
            with suppress(OSError):
                self.write_bytes(path, data)
        return data

    def write_bytes(self, path: str, data: bytes | pa.Buffer) -> None:
        if self.local:
            self.write_atomically(path, data)
            return
        with self.fs.open_output_stream(path) as file:
            file.write(data)

    def exists(self, path: str) -> bool:
        try:
            return bool(self.fs.get_file_info(path).type != FileType.NotFound)
        except OSError as error:
            raise self.storage_error(error, "read") from error

    def files(self, *parts: str) -> list[FileInfo]:
        """The files under a folder of the store, at any depth; none when it does not exist."""
        return [info for info in self.entries(*parts, recursive=True) if info.type == FileType.File]

    def entries(self, *parts: str, recursive: bool = False) -> list[FileInfo]:
        """The files and folders in a folder of the store; none when it does not exist."""
        selector = FileSelector(self.path(*parts), allow_not_found=True, recursive=recursive)
        try:
            return list(self.fs.get_file_info(selector))
        except OSError as error:
            raise self.storage_error(error, "read") from error

    def delete(self, path: str) -> None:
        """Remove a file, or a folder with all that is in it, if it is there."""
        try:
            with suppress(FileNotFoundError):
                found = self.fs.get_file_info(path).type
                if found == FileType.Directory:
                    self.fs.delete_dir(path)
                elif found == FileType.File:
                    self.fs.delete_file(path)
        except OSError as error:
            raise self.storage_error(error, "remove from") from error

    def check_writable(self) -> None:
        """Refuse a store that cannot be written to, before any work is done for it."""
        probe = self.path("tmp", f"probe-{uuid.uuid4().hex[:8]}")
        try:
            self.write_bytes(probe, b"")
            self.fs.delete_file(probe)
        except OSError as error:
            raise self.storage_error(error) from error

    def storage_error(self, error: OSError, doing: str = "write to") -> StorageError:
        """The one line for a store on which something failed that it must be able to do."""
        if not self.local and not error.errno:
            reason, advice = s3.complaint(error)
        else:  # Arrow's own wording wraps the reason in more words
            reason = reason_of(error)
            advice = f"{remedy_of(error)} or set another `{self.called}`"
        return StorageError(f"{self.called}: cannot {doing} '{self.root}' ({reason})", advice)

    def newer(self, path: str) -> InputError:
        """The one line for what a newer version has written. It may be good, and is left alone."""
        return InputError(
            f"{self.called}: '{path}' was written by a newer version of swag-ray",
            f"update this one, or set another `{self.called}`",
        )

    def _discard(self, folder: str, files: Iterable[str]) -> None:
        """Take a damaged result out of the way: its marker first, then what that named, which on s3:// is all: another
        run may be writing the same stage anew."""
        if self.local:
            self._remove(folder)
            return
        for file in (MARKER, *files):
            self.delete(posixpath.join(folder, file))

    def _remove(self, folder: str) -> None:
        try:
            self.fs.delete_dir(folder)
        except (FileNotFoundError, OSError):
            return


def _files_of(marker: bytes) -> dict[str, str] | None:
    """{file: checksum} of a stage's marker; None where a newer version wrote it.

    Raises:
        ValueError, LookupError, TypeError, AttributeError: it is not what was written.
    """
    record = json.loads(marker)
    if int(record.get("format", 1)) > FORMAT:
        return None
    files = {str(name): str(sha) for name, sha in record["files"].items()}
    if {name.rpartition("-")[2] for name in files} != {ARRAYS, INFO}:
        raise ValueError("other files than a stage's")
    return files


def _written(metadata: Mapping[str, bytes]) -> float | None:
    try:
        return datetime.fromisoformat(metadata["Last-Modified"].decode()).timestamp()
    except (LookupError, ValueError):
        return None
