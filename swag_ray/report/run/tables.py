"""Columns of a run's tables as arrays.

Labels are int8: 1 anomaly, 0 normal, -1 unknown.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


def floats(table: pa.Table, name: str) -> NDArray[np.float64]:
    """Returns a column of numbers, (rows,); NaN where it is null or absent."""
    if name not in table.column_names:
        return np.full(table.num_rows, np.nan)
    column = pc.fill_null(table[name].cast(pa.float64()), np.nan)
    return np.asarray(column.to_numpy(), dtype=np.float64)


def labels(table: pa.Table) -> NDArray[np.int8]:
    """Returns the labels, (rows,): 1 anomaly, 0 normal, -1 unknown."""
    if "label" not in table.column_names or pa.types.is_null(table["label"].type):
        return np.full(table.num_rows, -1, dtype=np.int8)
    column = pc.fill_null(table["label"].cast(pa.int8()), -1)
    return np.asarray(column.to_numpy(), dtype=np.int8)
