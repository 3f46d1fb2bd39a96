"""A spreadsheet runs nothing of a CSV file; every other reader finds numbers as numbers and text as text."""

from __future__ import annotations

from typing import Any

import pytest

from swag_ray.record.csv_cells import csv_cell


@pytest.mark.parametrize(
    "text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "-", "\uff1d1"]
)
def test_what_a_spreadsheet_would_run_becomes_text(text: str) -> None:
    assert csv_cell(text) == f"'{text}"


@pytest.mark.parametrize("value", ["-0.3", "+1e-4", -0.3, 3, None, True, "", "a=b", "[-1, 2]", "patient 7.png"])
def test_everything_else_stays(value: Any) -> None:
    assert csv_cell(value) is value
