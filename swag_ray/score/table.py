"""The table of `swag-ray score`: its columns, its order, its formats.

Shapes: N images, n of them with a score.
"""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from swag_ray.errors import InputError, reason_of, remedy_of
from swag_ray.record.csv_cells import words_of
from swag_ray.record.files import csv_safe, write_csv, write_table, write_text
from swag_ray.score.outputs import STDOUT
from swag_ray.score.rows import ScoredRows

Order = Literal["suspicion", "path"]


def result_table(
    scored: ScoredRows, rate: float, aligned_n: NDArray[np.float64] | None = None, further: pa.Table | None = None
) -> pa.Table:
    """Returns the rows of all images with the columns of the result, in the images' order.

    path, id, score, p, aligned_p (with a site alone), above_threshold, status (`scored` or the reason),
    out_of_domain, detector, seconds; then the columns of the tables that listed them, called manifest_NAME where the
    name is taken. What has no score is null there.

    Args:
        rate: share of normals to flag: those with p, or with a site aligned p, at most this.
        aligned_n: a site's p-values of the images that have a score.
        further: the tables' columns.
    """
    table = scored.table
    p = table["p"]
    columns: dict[str, Any] = {name: table[name] for name in ("path", "id", "score", "p")}
    if aligned_n is not None:
        aligned_N = np.full(len(table), np.nan)
        aligned_N[scored.scored_N] = aligned_n
        columns["aligned_p"] = p = pa.array(aligned_N, pa.float64(), mask=~scored.scored_N)
    columns["above_threshold"] = pc.less_equal(p, rate)
    columns |= {name: table[name] for name in ("status", "out_of_domain")}
    columns["detector"] = pa.array([scored.digest] * len(table), pa.string())
    columns["seconds"] = table["seconds"]
    result = pa.table(columns)
    if further is not None:
        for name in further.column_names:
            free = name
            while free in result.column_names:
                free = f"manifest_{free}"
            result = result.append_column(free, further[name])
    return result


def ranking(table: pa.Table, order: Order = "suspicion") -> pa.Array:
    """Returns the rows' numbers by path, or the most suspicious first: by p, then score, then path; last what has no
    score.
    """
    keys = [("p", "ascending"), ("score", "descending")] if order == "suspicion" else []
    return pc.sort_indices(table, sort_keys=[*keys, ("path", "ascending")])  # nulls at the end


def ordered(table: pa.Table, order: Order) -> pa.Table:
    """Returns the table in the order of `ranking`."""
    return table.take(ranking(table, order))


def further_columns(table: pa.Table) -> list[str]:
    """Returns which columns of a result are those of the tables that listed the images."""
    names = list(table.column_names)
    return names[names.index("seconds") + 1 :]


def _without_nan(value: Any) -> Any:
    """Plain values with None for what JSON has no word for."""
    if isinstance(value, dict):
        return {name: _without_nan(held) for name, held in value.items()}
    if isinstance(value, list):
        return [_without_nan(held) for held in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_result(table: pa.Table, out: str) -> None:
    """Writes the table, whole or not at all, as its suffix says; `-` is CSV on standard output. Raises InputError."""
    path = Path(out)
    try:
        if out == STDOUT:
            _print(table)
            return
        match path.suffix.lower():
            case ".csv":
                write_csv(path, table)
            case ".parquet":
                write_table(path, table)
            case _:
                plain = _without_nan(table.to_pylist())
                write_text(path, json.dumps(plain, indent=2, default=words_of, allow_nan=False))
    except OSError as error:
        raise InputError(f"--out: cannot write '{out}' ({reason_of(error)})", remedy_of(error)) from error


def _print(table: pa.Table) -> None:
    """Writes CSV to standard output. A reader that went away (`| head`) has what it wanted. Raises OSError."""
    from pyarrow import csv

    buffer = pa.BufferOutputStream()
    csv.write_csv(csv_safe(table), buffer)
    try:
        sys.stdout.write(buffer.getvalue().to_pybytes().decode())
        sys.stdout.flush()
    except OSError as error:
        # What is left in the stream would fail once more when it is closed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise
