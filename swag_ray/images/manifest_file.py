"""Reads the file of a manifest: CSV, Parquet, or the `data.json` of public benchmarks, as one Arrow table."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from swag_ray.errors import InputError, reason_of
from swag_ray.images.places import Place, RemotePath

PATH, ROLE, SPLIT, LABEL, GROUP, MASK = "path", "role", "split", "label", "group", "mask"
DELIMITERS = ",;\t"
# Keys of a data.json: {"train": {"0": [...], "unlabeled": {"0": [...], "1": [...]}}, "test": {"0": [...], "1": [...]}}.
CLASSES = {"0": "0", "normal": "0", "1": "1", "abnormal": "1", "anomaly": "1"}
UNLABELLED = ("unlabeled", "unlabelled")


def read_manifest(manifest: Place, called: str) -> pa.Table:
    """Returns the rows of a manifest: `path` and what else it has; the names of columns that are read in lower case.

    A CSV's columns are text, its empty cells null. Of a data.json, lists of normal training images beside unlabelled
    ones are seeds and pool; without those, they are what seeds are drawn from. Its files lie beside it, or in the one
    folder beside it that holds the first of them.

    Args:
        called: field that names the file, for messages.

    Raises:
        InputError: the file cannot be read, is damaged, or has no column path.
    """
    try:
        data = manifest.read_bytes()
    except OSError as error:
        raise InputError(f"{called}: cannot read {manifest} ({reason_of(error)})") from None
    suffix = manifest.suffix.lower()
    try:
        if suffix in (".parquet", ".pq"):
            table = _without_views(pq.read_table(io.BytesIO(data)))
        elif suffix == ".json":
            table = _benchmark(manifest, json.loads(data), called)
        else:
            table = _csv(data)
    except (ValueError, csv.Error, RecursionError, pa.ArrowException) as error:
        raise InputError(f"{called}: {manifest} is no manifest ({reason_of(error)})", "mend it") from None
    read = (PATH, ROLE, SPLIT, LABEL, GROUP, MASK)
    names = [lower if (lower := name.strip().casefold()) in read else name for name in table.column_names]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"{called}: {manifest} has two columns {twice[0]}", "rename one")
    if PATH not in names:
        found = ", ".join(table.column_names) or "none"
        raise InputError(f"{called}: {manifest} has no column path ({found})", "call the column with the files path")
    if not table.num_rows:
        raise InputError(f"{called}: {manifest} lists no image", "add rows")
    return table.rename_columns(names)


def _without_views(table: pa.Table) -> pa.Table:
    """The table in types that Arrow can pick rows of: of views (of text, of bytes) it cannot."""
    for i, field in enumerate(table.schema):
        if not _holds_view(field.type):
            continue
        if pa.types.is_nested(field.type):
            plain = pa.array(table[i].to_pylist())
        else:
            plain = table[i].cast(pa.string() if pa.types.is_string_view(field.type) else pa.binary())
        table = table.set_column(i, field.name, plain)
    return table


def _holds_view(kind: pa.DataType) -> bool:
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        return True
    return any(_holds_view(kind.field(i).type) for i in range(kind.num_fields))


def _csv(data: bytes) -> pa.Table:
    text = data.decode("utf-8-sig")
    first = text.partition("\n")[0]
    delimiter = max(DELIMITERS, key=first.count)
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    header, *rows = [row for row in rows if row] or [[]]
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise ValueError(f"row {number} has {len(row)} cells, the header {len(header)}")
    columns = [pa.array([row[i] or None for row in rows], pa.string()) for i in range(len(header))]
    return pa.Table.from_arrays(columns, names=header)


def _benchmark(manifest: Place, content: Any, called: str) -> pa.Table:
    """The lists of a data.json as rows."""
    rows = list(_listed(content))
    if not rows:
        raise ValueError('no lists of files under "train" and "test"')
    if any(role == "pool" for _, role, _ in rows):
        rows = [(path, role, label) for path, role, label in rows if role != "train" or label == "0"]
        rows = [(path, "seed" if role == "train" else role, label) for path, role, label in rows]
        part = ROLE
    else:
        part = SPLIT
    base = _base(manifest, rows[0][0], called)
    paths, parts, labels = zip(*rows, strict=True)
    return pa.table(
        {
            PATH: pa.array([f"{base}{path}" for path in paths], pa.string()),
            part: pa.array(parts, pa.string()),
            LABEL: pa.array(labels, pa.string()),
        }
    )


def _listed(content: Any) -> Iterator[tuple[str, str, str | None]]:
    """(file, "train", "pool" or "test", label) of every file of the lists."""
    for part in ("train", "test"):
        lists = content.get(part) if isinstance(content, Mapping) else None
        for key, held in lists.items() if isinstance(lists, Mapping) else ():
            if key in UNLABELLED:
                known = held if isinstance(held, Mapping) else {None: held}
                role = "pool" if part == "train" else part
                named = [(label, role, files) for label, files in known.items()]
            else:
                named = [(key, part, held)]
            for label, role, files in named:
                if label is not None and label not in CLASSES:
                    raise ValueError(f'"{part}" has a list "{label}", which is neither "0" nor "1"')
                if not isinstance(files, list) or not all(isinstance(file, str) for file in files):
                    raise ValueError(f'"{part}", "{label or key}" is no list of files')
                yield from ((file, role, None if label is None else CLASSES[label]) for file in files)


def _base(manifest: Place, first: str, called: str) -> str:
    """Where the files of a data.json are, relative to it: "", or a folder with / at its end."""
    folder = manifest.parent
    if (folder / first).is_file():
        return ""
    if isinstance(folder, RemotePath):
        folders = [entry.name for entry in folder.entries() if entry.is_dir()]
    else:
        folders = sorted(entry.name for entry in Path(folder).iterdir() if entry.is_dir())
    holders = [name for name in folders if (folder / name / first).is_file()]
    if len(holders) != 1:
        where = f"in {' and '.join(holders)}" if holders else "neither beside it nor in a folder beside it"
        raise InputError(f"{called}: {manifest} lists {first}, which is {where}", "keep the images in one folder there")
    return f"{holders[0]}/"
