"""Shard files: written whole or not at all, read back or found damaged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from swag_ray.errors import InputError, reason_of
from swag_ray.store.store import Store

# What reading a file that is not what was written comes out as; rows and columns are our own.
DAMAGE = (OSError, ValueError, LookupError, pa.ArrowException)


def shard_table(sha256: Sequence[str], rows: Sequence[dict[str, Any]], strides: Sequence[int]) -> pa.Table:
    """The rows of `extract` as the table that a shard file holds."""

    def binary(values: list[Any]) -> pa.Array:
        width = next((len(v) for v in values if v is not None), 1)
        return pa.array(values, pa.binary(width))

    thumbnail, grey, border = zip(*(row["statistics"] or (None, None, None) for row in rows), strict=True)
    columns: dict[str, pa.Array] = {
        "sha256": pa.array(sha256, pa.string()),
        "error": pa.array([row["error"] for row in rows], pa.string()),
        "width": pa.array([row["width"] for row in rows], pa.int32()),
        "height": pa.array([row["height"] for row in rows], pa.int32()),
        "border": pa.array(border, pa.float32()),
        "grey": binary([None if g is None else g.tobytes() for g in grey]),
        "thumbnail": binary([None if t is None else t.tobytes() for t in thumbnail]),
    }
    shape = {}
    for stride in strides:
        values = [row["features"][stride] if row["features"] else None for row in rows]
        columns[f"stride_{stride}"] = binary([v.tobytes() if v is not None else None for v in values])
        shape[f"channels_{stride}"] = str(next((v.shape[1] for v in values if v is not None), 0))
    return pa.table(columns).replace_schema_metadata(shape)


class DamagedShard(InputError):
    """A shard that is gone or not what was written. Its images can be extracted again once the file is out of the way.

    Args:
        path: the shard file.
        reason: what reading it said.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"store: feature shard '{path}' is damaged ({reason})", "delete that file and run again")
        self.path, self.reason = path, reason
        self.args = (path, reason)  # what an exception comes out of an actor by

    def remove(self, store: Store) -> None:
        """Delete the file, if it still is there."""
        store.delete(self.path)


def damaged(path: str, error: Exception) -> DamagedShard:
    return DamagedShard(path, reason_of(error))


def write_shard(store: Store, path: str, table: pa.Table) -> None:
    """One Parquet file, whole or not at all; page checksums let a reader notice a damaged one."""
    sink = pa.BufferOutputStream()
    pq.write_table(
        table, sink, compression="none", use_dictionary=False, write_statistics=False, write_page_checksum=True
    )
    store.write_atomically(path, sink.getvalue().to_pybytes())


def read_shard(store: Store, path: str, columns: list[str]) -> pa.Table:
    """Some columns of a shard. Only a file that was read whole counts as damaged: it is about to be removed.

    Raises:
        DamagedShard: it is not there, or not what was written.
        StorageError: it could not be read, which says nothing about it.
    """
    checked = {"columns": columns, "use_threads": False, "page_checksum_verification": True}
    try:
        try:
            with store.fs.open_input_file(path) as file:  # by name it would be looked up three times
                return pq.read_table(file, **checked)
        except DAMAGE:
            return pq.read_table(pa.BufferReader(store.read_bytes(path)), **checked)
    except DAMAGE as error:
        raise damaged(path, error) from error
