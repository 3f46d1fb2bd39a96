"""Columns of many names that stay in Arrow: a Python string a name would take the driver several times the memory."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

PIECE = 4096  # names that are Python objects at a time


def factorize(names: pa.ChunkedArray) -> tuple[pa.Array, NDArray[np.int32]]:
    """The different names, sorted as Python sorts them, and the number of each row's name among them.

    By sorting: Arrow's own `unique` and `index_in` build tables of all names.
    """
    order = pc.sort_indices(names)  # by bytes, which in UTF-8 is Python's order
    in_order = names.take(order).combine_chunks()
    new_N = np.ones(len(names), dtype=np.bool_)
    new_N[1:] = pc.not_equal(in_order[1:], in_order[:-1]).to_numpy(zero_copy_only=False)
    number_N = np.empty(len(names), dtype=np.int32)
    number_N[order.to_numpy()] = np.cumsum(new_N) - 1
    return in_order if new_N.all() else in_order.filter(pa.array(new_N)), number_N


def text_bytes(names: pa.Array | pa.ChunkedArray) -> NDArray[np.bytes_]:
    """The names as numpy byte strings, all as wide as the longest, which sort as the names do."""
    width = pc.max(pc.binary_length(names)).as_py() or 1
    out = np.empty(len(names), f"S{width}")
    for start in range(0, len(names), PIECE):
        out[start : start + PIECE] = names.slice(start, PIECE).cast(pa.binary()).to_pylist()
    return out
