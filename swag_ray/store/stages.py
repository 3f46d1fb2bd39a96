"""The one mechanism behind reuse, resume and sweeps: stages in a store.

A stage is a pure step. Its result is a folder named by the hash of what the step reads: some config fields, the keys
of the stages before it, the version of its own code. A result is written under a temporary name and its completion
marker last; what has no marker does not exist, so a kill at any moment leaves nothing that looks complete, and two
runs on one store do not hurt each other.

    STORE/stages/<name>/<key>/arrays.npz, info.json, complete.json
    STORE/features/<fingerprint>/<shard>.parquet

On s3:// nothing can be renamed: there a result's files carry their checksum in their name, so that two writers who
differ in a bit never mix, and the marker, which names them, is the last object written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

Arrays = dict[str, np.ndarray[Any, Any]]

# Raise a stage's number when its code gives other figures; tests/whole/test_golden.py notices when that was forgotten.
VERSIONS = {
    "backbone": 1, "features": 1, "index": 2, "cohort": 1, "bank": 1, "fit": 1, "decide": 3, "supervised": 2,
    "range": 1, "looks": 1, "auxiliary": 1, "test": 1, "domain": 1, "trusted": 1, "heat": 1,
}  # fmt: skip

PIECE = 4096  # strings of an Arrow column that are Python objects at a time


@dataclass(frozen=True)
class Result:
    """What a stage leaves: named arrays (nothing pickled) and a small JSON record."""

    arrays: Arrays
    info: dict[str, Any] = field(default_factory=dict)


def stage_key(name: str, reads: Mapping[str, Any], after: Iterable[str] = ()) -> str:
    """The name of a stage's result: 24 hex digits over its name, code version, fields read and the keys before it."""
    record = {"stage": name, "version": VERSIONS[name], "reads": reads, "after": list(after)}
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:24]


def digest(*parts: Any) -> str:
    """A content hash of arrays, strings or JSON values, for keys that stand for data.

    An Arrow column of strings counts as the list of them, and stays out of Python's memory.
    """
    sha = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            sha.update(f"{part.dtype.str}{part.shape}".encode())
            sha.update(np.ascontiguousarray(part).tobytes())
        elif isinstance(part, pa.Array | pa.ChunkedArray):
            for text in _json_list(part):
                sha.update(text.encode())
        else:
            sha.update(json.dumps(part, sort_keys=True).encode())
        sha.update(b"\x1e")
    return sha.hexdigest()[:24]


def _json_list(strings: pa.Array | pa.ChunkedArray) -> Iterator[str]:
    """What `json.dumps` makes of the column's list, a piece at a time."""
    yield "["
    for start in range(0, len(strings), PIECE):
        yield (", " if start else "") + json.dumps(strings.slice(start, PIECE).to_pylist())[1:-1]
    yield "]"


def flat_folds(folds: Sequence[Arrays], prefix: str = "") -> Arrays:
    """Returns one dict per fold as flat `fold<k>.<prefix><name>` arrays; `fold_arrays` is the inverse."""
    return {f"fold{k}.{prefix}{name}": array for k, fold in enumerate(folds) for name, array in fold.items()}


def fold_arrays(arrays: Arrays, folds: int) -> tuple[Arrays, ...]:
    """Flat `fold<k>.<name>` arrays as one dict a fold."""
    out: tuple[Arrays, ...] = tuple({} for _ in range(folds))
    for name, array in arrays.items():
        fold, rest = name.split(".", 1)
        out[int(fold.removeprefix("fold"))][rest] = array
    return out
