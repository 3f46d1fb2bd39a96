"""The store: a folder or an s3:// prefix that keeps results by key."""

from __future__ import annotations

import hashlib
import io
import json
import posixpath
import time
import uuid
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path

import numpy as np
from pyarrow.fs import FileInfo, FileSelector, FileSystem, FileType, LocalFileSystem

from swag_ray.errors import InputError, StorageError, reason_of
from swag_ray.store import s3
from swag_ray.store.stages import Result
from swag_ray.system.files import whole_file, whole_folder

MARKER, ARRAYS, INFO = "complete.json", "arrays.npz", "info.json"


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
            self.base = str(Path(self.root).expanduser().absolute())
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
        with self.computing(name, key) as waited:
            found = self.load(name, key) if waited else None
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
    def computing(self, name: str, key: str) -> Iterator[bool]:
        """Hold while the stage is computed. Yields whether somebody else may have computed it meanwhile."""
        yield False

    def load(self, name: str, key: str) -> Result | None:
        """A complete, undamaged result, or None. One that was read and found damaged is removed, to be computed again.

        Raises:
            StorageError: it could not be read, which says nothing about it.
        """
        folder = self.path("stages", name, key)
        files: dict[str, str] = {}
        try:
            marker = self.read_bytes(posixpath.join(folder, MARKER))
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            files = dict(json.loads(marker)["files"])
            content = {file: self.read_bytes(posixpath.join(folder, file)) for file in files}
            if any(hashlib.sha256(data).hexdigest() != files[file] for file, data in content.items()):
                raise ValueError("checksum")
            parts = {file.rpartition("-")[2]: data for file, data in content.items()}
            with np.load(io.BytesIO(parts[ARRAYS]), allow_pickle=False) as arrays:
                return Result({k: arrays[k] for k in arrays.files}, json.loads(parts[INFO]))
        except (FileNotFoundError, ValueError, LookupError, TypeError, AttributeError, zipfile.BadZipFile):
            self._discard(folder, files)
            return None

    def has(self, name: str, key: str) -> bool:
        """Whether a complete result is there (its content is checked when it is loaded)."""
        return self.exists(self.path("stages", name, key, MARKER))

    def save(self, name: str, key: str, result: Result) -> None:
        """Keep a result: all files, then the marker, and on a local disk one rename at the end."""
        buffer = io.BytesIO()
        np.savez(buffer, **result.arrays)  # type: ignore[arg-type]
        parts = {ARRAYS: buffer.getvalue(), INFO: json.dumps(result.info, sort_keys=True).encode()}
        sha = {part: hashlib.sha256(data).hexdigest() for part, data in parts.items()}
        names = {part: part if self.local else f"{sha[part][:16]}-{part}" for part in parts}
        marker = {"stage": name, "files": {names[part]: sha[part] for part in parts}}
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
                if not self.has(name, key):
                    self._remove(final)  # what has no marker does not exist: left by a removal that was killed half-way
        except FileExistsError:
            if not self.has(name, key):
                raise
            # Else another run finished the same stage first: the results are the same.

    def write_atomically(self, path: str, data: bytes) -> None:
        """One file that is there whole or not at all (an object store's put already is)."""
        if not self.local:
            self.write_bytes(path, data)
            return
        draft = self.path("tmp", f"{posixpath.basename(path)}-{uuid.uuid4().hex[:8]}")
        for folder in {posixpath.dirname(path), posixpath.dirname(draft)}:
            self.fs.create_dir(folder, recursive=True)
        with whole_file(Path(path), Path(draft)) as temporary:
            temporary.write_bytes(data)

    def read_bytes(self, path: str) -> bytes:
        """A whole file.

        Raises:
            FileNotFoundError, NotADirectoryError: it is not there.
            StorageError: it may be there, but cannot be read.
        """
        try:
            with self.fs.open_input_file(path) as file:
                return bytes(file.read())
        except (FileNotFoundError, NotADirectoryError):
            raise
        except OSError as error:
            if s3.gone(error):
                raise FileNotFoundError(path) from error
            raise self.storage_error(error, "read") from error

    def write_bytes(self, path: str, data: bytes) -> None:
        if self.local:
            self.fs.create_dir(posixpath.dirname(path), recursive=True)
        with self.fs.open_output_stream(path) as file:
            file.write(data)

    def exists(self, path: str) -> bool:
        try:
            return bool(self.fs.get_file_info(path).type != FileType.NotFound)
        except OSError as error:
            raise self.storage_error(error, "read") from error

    def files(self, *parts: str) -> list[FileInfo]:
        """The files under a folder of the store, at any depth; none when it does not exist."""
        selector = FileSelector(self.path(*parts), allow_not_found=True, recursive=True)
        try:
            return [info for info in self.fs.get_file_info(selector) if info.type == FileType.File]
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
            advice = f"{'free space' if doing == 'write to' else 'gain access'} there or set another `{self.called}`"
        return StorageError(f"{self.called}: cannot {doing} '{self.root}' ({reason})", advice)

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
