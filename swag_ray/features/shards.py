"""Shard files: written whole or not at all, read back or found damaged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from swag_ray.errors import InputError, reason_of
from swag_ray.store.store import Store

FORMAT = 1  # of a shard file, in its metadata; 1 where absent. A larger number is a newer version's.
# What reading a file that is not what was written comes out as. Taking rows from what was read is no part of it: what
# goes wrong there is a fault of ours.
DAMAGE = (OSError, ValueError, pa.ArrowException)
# Of the code that decides which images can be read. Raise it when more can: those that an older one refused are tried
# again, all others stay as they are. Other pixels of an image that could be read are other features: that is
# VERSIONS["features"], and part of the fingerprint.
DECODER = "4"
# The columns besides the maps and their types; width 1 where no image of the shard could be read.
TYPES = {
    "sha256": (pa.string(),), "error": (pa.string(),), "width": (pa.int32(),), "height": (pa.int32(),),
    "border": (pa.float32(),), "grey": (pa.binary(7 * 4), pa.binary(1)),
    "thumbnail": (pa.binary(32 * 32), pa.binary(1)),
}  # fmt: skip


def shard_table(sha256: Sequence[str], rows: Sequence[dict[str, Any]], strides: Sequence[int]) -> pa.Table:
    """The rows of `extract` as the table that a shard file holds."""

    def binary(values: Sequence[NDArray[Any] | None]) -> pa.Array:
        """A fixed-size binary column. Copied once, for fresh memory is what a shard costs beside its decoding."""
        known = [value for value in values if value is not None]
        width = known[0].nbytes if known else 1
        if len(known) < len(values):
            return pa.array([None if v is None else v.tobytes() for v in values], pa.binary(width))
        return pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(width), len(values), [None, pa.py_buffer(np.stack(known))]
        )

    thumbnail, grey, border = zip(*(row["statistics"] or (None, None, None) for row in rows), strict=True)
    columns: dict[str, pa.Array] = {
        "sha256": pa.array(sha256, pa.string()),
        "error": pa.array([row["error"] for row in rows], pa.string()),
        "width": pa.array([row["width"] for row in rows], pa.int32()),
        "height": pa.array([row["height"] for row in rows], pa.int32()),
        "border": pa.array(border, pa.float32()),
        "grey": binary(grey),
        "thumbnail": binary(thumbnail),
    }
    shape = {"decoder": DECODER, "rows": str(len(rows))}
    for stride in strides:
        values = [row["features"][stride] if row["features"] else None for row in rows]
        columns[f"stride_{stride}"] = binary(values)
        shape[f"channels_{stride}"] = str(next((v.shape[1] for v in values if v is not None), 0))
    return pa.table(columns).replace_schema_metadata(shape | {"format": str(FORMAT)})


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
        """Deletes the file, unless it was made again since: of several that found it damaged, one was first."""
        try:
            check_shard(self.path, read_shard(store, self.path, None))
        except DamagedShard:
            store.delete(self.path)


def damaged(path: str, error: Exception) -> DamagedShard:
    """Returns the complaint about a shard whose reading raised `error`."""
    return DamagedShard(path, reason_of(error))


def write_shard(store: Store, path: str, table: pa.Table) -> None:
    """One Parquet file, whole or not at all; page checksums let a reader notice a damaged one."""
    sink = pa.BufferOutputStream()
    pq.write_table(
        table, sink, compression="none", use_dictionary=False, write_statistics=False, write_page_checksum=True
    )
    store.write_atomically(path, sink.getvalue())


def read_shard(store: Store, path: str, columns: list[str] | None) -> pa.Table:
    """Some columns of a shard, or all. Only a file that was read whole counts as damaged: it is about to be removed.

    Raises:
        DamagedShard: it is not there, or not what was written.
        StorageError: it could not be read, which says nothing about it.
        InputError: a newer version of swag-ray has written it.
    """
    checked = {"columns": columns, "use_threads": False, "page_checksum_verification": True}
    try:
        try:
            with store.fs.open_input_file(path) as file:  # by name it would be looked up three times
                table = pq.read_table(file, **checked)
        except MemoryError:
            raise
        except DAMAGE:
            data = store.read_bytes(path)
            if _is_newer(data):
                raise store.newer(path) from None
            table = pq.read_table(pa.BufferReader(data), **checked)
    except MemoryError:  # one of Arrow's errors too
        raise
    except DAMAGE as error:
        raise damaged(path, error) from error
    if _format(table.schema) > FORMAT:
        raise store.newer(path)
    try:
        _check_description(path, table)
    except ValueError as error:  # a name that is no text any more
        raise damaged(path, error) from error
    return table


def _check_description(path: str, table: pa.Table) -> None:
    """Checks what no checksum covers: the file's description of its columns and rows."""
    for field in table.schema:
        of_a_map = field.name.startswith("stride_") and pa.types.is_fixed_size_binary(field.type)
        if not of_a_map and field.type not in TYPES.get(field.name, ()):
            raise DamagedShard(path, f"column {field.name!r} holds {field.type}")
    rows = (table.schema.metadata or {}).get(b"rows", b"")  # an earlier version did not say
    if rows and rows != str(table.num_rows).encode():
        raise DamagedShard(path, f"{table.num_rows} rows of {rows.decode(errors='replace')}")


def check_shard(path: str, table: pa.Table) -> None:
    """Checks that a shard has all the columns that `shard_table` makes, and maps of the size that it says.

    Raises:
        DamagedShard: they have not.
    """
    described = {key.decode(errors="replace") for key in table.schema.metadata or {}}
    strides = {name.removeprefix("stride_") for name in table.column_names if name.startswith("stride_")}
    if strides != {key.removeprefix("channels_") for key in described if key.startswith("channels_")}:
        raise DamagedShard(path, "its maps and their description differ")
    if not TYPES.keys() <= set(table.column_names):
        raise DamagedShard(path, "a column is missing")
    if not table.column("error").null_count:
        return  # no image of it could be read, and it holds nothing of any
    try:
        patches(path, table, [int(stride) for stride in strides])
    except ValueError as error:
        raise damaged(path, error) from error


def patches(path: str, table: pa.Table, strides: Sequence[int]) -> dict[int, NDArray[np.float16]]:
    """The features of a shard's table: {stride: (rows, P, C)}; those of unreadable images mean nothing.

    Raises:
        DamagedShard: the file's own description of them does not fit.
    """
    out = {}
    for stride in strides:
        flat = fixed(table.column(f"stride_{stride}"), np.float16)
        channels = (table.schema.metadata or {}).get(f"channels_{stride}".encode(), b"")
        if not channels.isdigit() or int(channels) == 0 or flat.shape[1] % int(channels):
            raise DamagedShard(path, f"no number of channels for stride {stride}")
        out[stride] = flat.reshape(len(flat), -1, int(channels))
    return out


def fixed(column: pa.ChunkedArray, dtype: Any) -> NDArray[Any]:
    """A fixed-size binary column as a (rows, values) array, without a copy where it is one chunk."""
    array = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0)
    width = array.type.byte_width
    data = np.frombuffer(array.buffers()[1], np.uint8)[array.offset * width : (array.offset + len(array)) * width]
    return data.view(dtype).reshape(len(array), -1)


def _format(schema: pa.Schema) -> int:
    number = (schema.metadata or {}).get(b"format", b"1")
    return int(number) if number.isdigit() else FORMAT


def _is_newer(data: bytes) -> bool:
    """Whether a file whose columns could not be read says that a newer version wrote it."""
    try:
        return _format(pq.read_schema(pa.BufferReader(data))) > FORMAT
    except DAMAGE:
        return False
