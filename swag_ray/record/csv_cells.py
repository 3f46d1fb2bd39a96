"""Cells of a CSV file that a spreadsheet may open: text stays text."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\N{FULLWIDTH EQUALS SIGN}")


def csv_cell(value: Any) -> Any:
    """Returns a value as it may stand in a CSV file.

    A text that begins as a formula does, which a spreadsheet would run, gets an apostrophe before it: the sign for text
    there, and a character of the cell to every other reader. Numbers stay, as numbers and as text (`-0.3`).
    """
    if not isinstance(value, str) or not value.startswith(FORMULA_STARTS) or _is_number(value):
        return value
    return f"'{value}"


def csv_column(column: pa.ChunkedArray) -> pa.ChunkedArray | pa.Array:
    """Returns a column as it may stand in a CSV file, whatever its type: text as `csv_cell` has it, lists and the like
    as JSON, bytes as the text that they are, in hex digits where one of them is none.
    """
    import pyarrow as pa
    import pyarrow.types as kinds

    if kinds.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    numbers = kinds.is_boolean(kind) or kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_decimal(kind)
    if numbers or kinds.is_null(kind) or (kinds.is_temporal(kind) and not kinds.is_interval(kind)):
        return column
    values = column.to_pylist()
    if kinds.is_nested(kind):
        texts = [None if value is None else json.dumps(value, default=words_of) for value in values]
    else:
        texts = _texts(values)
    return pa.array([csv_cell(text) for text in texts], pa.string())


def _texts(values: list[Any]) -> list[str | None]:
    try:
        return [None if v is None else v.decode() if isinstance(v, bytes) else str(v) for v in values]
    except UnicodeDecodeError:
        return [None if v is None else v.hex() for v in values]


def words_of(value: Any) -> str:
    """Returns a value that JSON has no word for as text; bytes that are none in hex digits."""
    if not isinstance(value, bytes):
        return str(value)
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.hex()


def csv_text(cell: str) -> str:
    """Returns the text that `csv_cell` made a cell of."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(FORMULA_STARTS) else cell


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text)) and text == text.strip()
    except ValueError:
        return False
