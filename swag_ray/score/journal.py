"""What has been scored so far, on disk as it comes: a call that is killed goes on from it.

OUT.partial beside the result holds a line of JSON that says what it is of, and one for each chunk of images: its
number, a digest of its files as they were before they were read, and its rows. It goes when the result is there.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from swag_ray.errors import InputError, reason_of, remedy_of
from swag_ray.images.frames import file_and_frame
from swag_ray.images.places import Place, size_and_time
from swag_ray.score.rows import ROWS
from swag_ray.score.scorer import SCORED

SUFFIX = ".partial"
FORMAT = 1


class Journal:
    """Chunks of rows in a file.

    Attributes:
        id: of the call that began it, and of those that go on with it.

    Args:
        out: the result's file.
        scoring: what the rows depend on besides the files: another's are not gone on from.

    Raises:
        InputError: it cannot be written.
    """

    def __init__(self, out: Path, scoring: dict[str, Any]) -> None:
        self.path = partial_of(out)
        head = {"format": FORMAT, "scoring": scoring}
        self._known: dict[int, tuple[str, str]] = {}
        lines = list(self._lines())
        first, *others = [json.loads(line) for line in lines] or [{}]
        self.id: str = first.pop("id", "")
        if first != head:
            self.id = uuid.uuid4().hex
            self._write(json.dumps({"id": self.id, **head}) + "\n", os.O_TRUNC)
            return
        for record in others:
            if record["id"] == self.id:  # else of a call that began before this file
                self._known[record["chunk"]] = (record["files"], record["rows"])
        self._cut(sum(len(line.encode()) + 1 for line in lines))

    def rows(self, chunk: int, files: str) -> pa.RecordBatch | None:
        """Returns the rows of a chunk; None where they are not known, or were of files that have changed since, or one
        of its images had no score: what could not be read may be by now.
        """
        held, text = self._known.pop(chunk, ("", ""))
        if held != files:
            return None
        rows = pa.ipc.read_record_batch(pa.py_buffer(base64.b64decode(text)), ROWS)
        return rows if pc.all(pc.equal(rows["status"], SCORED)).as_py() else None

    def add(self, chunk: int, files: str, rows: pa.RecordBatch) -> None:
        """Keeps the rows of a chunk. Raises InputError where they cannot be written."""
        text = base64.b64encode(rows.serialize()).decode()
        self._write(json.dumps({"id": self.id, "chunk": chunk, "files": files, "rows": text}) + "\n", os.O_APPEND)

    def remove(self) -> None:
        """Takes the file away: the result is there."""
        self.path.unlink(missing_ok=True)

    def _lines(self) -> Iterator[str]:
        """The whole lines of the file; a kill may leave half a line at its end."""
        try:
            text = self.path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return
        for line in text.splitlines(keepends=True):
            try:
                record = json.loads(line)
            except ValueError:
                return
            if not line.endswith("\n") or not isinstance(record, dict):
                return
            yield line.removesuffix("\n")

    def _cut(self, size: int) -> None:
        """Takes away half a line at the end: what would stand behind it would not be whole."""
        try:
            if self.path.stat().st_size > size:
                os.truncate(self.path, size)
        except OSError as error:
            raise InputError(f"--out: cannot write '{self.path}' ({reason_of(error)})", remedy_of(error)) from error

    def _write(self, text: str, how: int) -> None:
        try:
            file = os.open(self.path, os.O_WRONLY | os.O_CREAT | how, 0o600)
            try:
                data = text.encode()
                while data:
                    data = data[os.write(file, data) :]
            finally:
                os.close(file)
        except OSError as error:
            raise InputError(f"--out: cannot write '{self.path}' ({reason_of(error)})", remedy_of(error)) from error


def partial_of(out: Path) -> Path:
    """Returns where the journal of a result is."""
    return out.with_name(out.name + SUFFIX)


def digest_of_files(places: Sequence[Place], frames: str) -> str:
    """Returns what stands for these images as they are now: place, size and time of the last change of its file each.

    Args:
        frames: `dataset.frames` of the detector, which says whether a place may name a frame.
    """
    named = hashlib.blake2b(digest_size=16)
    for place in places:
        named.update(os.fsencode(f"{place}\0{size_and_time(file_and_frame(place, frames)[0])}\0"))
    return named.hexdigest()
