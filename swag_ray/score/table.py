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

from swag_ray.detector.detector import Detector
from swag_ray.errors import InputError, reason_of, remedy_of
from swag_ray.record.files import csv_safe, write_csv, write_table, write_text
from swag_ray.score.rows import ScoredRows

FORMATS = (".csv", ".json", ".parquet")
STDOUT = "-"
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


def check_out(out: str) -> None:
    """Refuses, before anything is scored, a place that the table cannot be written to. Raises InputError."""
    if out == STDOUT:
        return
    if Path(out).suffix.lower() not in FORMATS:
        raise InputError(f"--out: '{out}' must end in {', '.join(FORMATS)}, or be - for CSV on the terminal")
    _check_place("--out", Path(out))


def check_report(file: Path) -> None:
    """Refuses, before anything is scored, a place that the page cannot be written to. Raises InputError."""
    if file.suffix.lower() != ".html":
        raise InputError(f"--report: '{file}' must end in .html")
    _check_place("--report", file)


def check_heatmaps(folder: Path, detector: Detector) -> None:
    """Refuses, before anything is scored, heatmaps that there are none of, or a folder that they cannot be written to.

    Raises:
        InputError: the detector was saved without a scale of heatmaps, or no folder can be made there.
    """
    if detector.heat is None:
        raise InputError(f"--heatmaps: '{detector.name}' keeps no scale of heatmaps", "run again")
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise InputError(f"--heatmaps: cannot write to '{folder}'", "choose another place")


def _check_place(option: str, path: Path) -> None:
    if not path.parent.is_dir():
        raise InputError(f"{option}: no folder '{path.parent}'", "make it first")
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise InputError(f"{option}: cannot write '{path}'", "choose another place")


def _flat(table: pa.Table) -> pa.Table:
    """The table with lists and the like of a table's own columns as JSON, for CSV."""
    for i, column in enumerate(table.schema):
        if pa.types.is_nested(column.type):
            texts = [None if value is None else json.dumps(value, default=str) for value in table[i].to_pylist()]
            table = table.set_column(i, column.name, pa.array(texts, pa.string()))
    return table


def _without_nan(value: Any) -> Any:
    """Plain values with None for what JSON has no word for."""
    if isinstance(value, dict):
        return {name: _without_nan(held) for name, held in value.items()}
    if isinstance(value, list):
        return [_without_nan(held) for held in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_result(table: pa.Table, out: str) -> None:
    """Writes the table, whole or not at all, as its suffix says; `-` is CSV on standard output. Raises InputError."""
    if out == STDOUT:
        from pyarrow import csv

        buffer = pa.BufferOutputStream()
        csv.write_csv(csv_safe(_flat(table)), buffer)
        sys.stdout.write(buffer.getvalue().to_pybytes().decode())
        return
    path = Path(out)
    try:
        match path.suffix.lower():
            case ".csv":
                write_csv(path, _flat(table))
            case ".parquet":
                write_table(path, table)
            case _:
                write_text(path, json.dumps(_without_nan(table.to_pylist()), indent=2, default=str, allow_nan=False))
    except OSError as error:
        raise InputError(f"--out: cannot write '{out}' ({reason_of(error)})", remedy_of(error)) from error
