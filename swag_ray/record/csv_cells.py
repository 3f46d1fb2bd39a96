"""Cells of a CSV file that a spreadsheet may open: text stays text."""

from __future__ import annotations

import math
from typing import Any

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\N{FULLWIDTH EQUALS SIGN}")


def csv_cell(value: Any) -> Any:
    """Returns a value as it may stand in a CSV file.

    A text that begins as a formula does, which a spreadsheet would run, gets an apostrophe before it: the sign for text
    there, and a character of the cell to every other reader. Numbers stay, as numbers and as text (`-0.3`).
    """
    if not isinstance(value, str) or not value.startswith(FORMULA_STARTS) or _is_number(value):
        return value
    return f"'{value}"


def csv_text(cell: str) -> str:
    """Returns the text that `csv_cell` made a cell of."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(FORMULA_STARTS) else cell


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text)) and text == text.strip()
    except ValueError:
        return False
