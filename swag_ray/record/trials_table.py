"""A sweep's trials as a table: a row a trial, with its fields, its figures and how it ended."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from swag_ray.record.run_metrics import RunMetrics

Row = dict[str, Any]
SCORES = "scores"  # of a final report: a trial's scores.parquet, as text
FIRST = ("trial", "name", "status", "error", "seconds", "dataset", "random_seed")


def flat_metrics(metrics: RunMetrics) -> dict[str, Any]:
    """The figures of a metrics.json under dotted names: numbers and flags, `score_used`, the last of the rounds as
    `last_round.*`, and the number of warnings.
    """
    plain = metrics.plain()
    rounds, warnings = plain.pop("rounds", []), plain.pop("warnings", None)
    if rounds:
        plain["last_round"] = rounds[-1]
    if warnings is not None:
        plain["warnings"] = len(warnings)
    return dict(_leaves(plain))


def as_text(scores: pa.Table) -> str:
    """A table as Parquet in letters, in which a trial's report can carry it."""
    sink = pa.BufferOutputStream()
    pq.write_table(scores, sink)
    return base64.b64encode(sink.getvalue()).decode()


def from_text(text: str) -> bytes:
    """The Parquet file that `as_text` made letters of."""
    return base64.b64decode(text)


def table(rows: Sequence[Row], fields: Sequence[str]) -> pa.Table:
    """trials.parquet: `trial, name, status, error, seconds, dataset, random_seed`, the searched fields, the figures.

    Args:
        rows: FIRST, a `point` (field -> value) and `figures` (dotted name -> value) each.
        fields: searched fields, in order; lists and nulls among their values become JSON text.
    """
    ordered = sorted(rows, key=lambda row: row["trial"])
    columns: dict[str, pa.Array] = {
        "trial": pa.array([row["trial"] for row in ordered], pa.int64()),
        "name": pa.array([row["name"] for row in ordered], pa.string()),
        "status": pa.array([row["status"] for row in ordered], pa.string()),
        "error": pa.array([row.get("error") for row in ordered], pa.string()),
        "seconds": pa.array([row.get("seconds") for row in ordered], pa.float64()),
        "dataset": pa.array([row["dataset"] for row in ordered], pa.string()),
        "random_seed": pa.array([row["random_seed"] for row in ordered], pa.int64()),
    }
    columns |= {field: _column([row["point"].get(field) for row in ordered]) for field in fields}
    names = sorted({name for row in ordered for name in row["figures"]} - columns.keys())
    columns |= {name: _column([row["figures"].get(name) for row in ordered]) for name in names}
    return pa.table(columns)


def _leaves(nested: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in nested.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        elif isinstance(value, bool | int | float) or key == "score_used":
            yield f"{prefix}{key}", value


def _column(values: list[Any]) -> pa.Array:
    """Numbers as numbers, else text; what mixes kinds is JSON text."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float}:
        return pa.array([None if v is None else float(v) for v in values] if float in kinds else values, None)
    if kinds in ({str}, {bool}):
        return pa.array(values)
    return pa.array([json.dumps(value) for value in values], pa.string())
