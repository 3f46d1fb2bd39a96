"""changes.csv: what a run says otherwise of its pool than the finished run that its folder held before.

That run is the one compared with, and no other: the same config goes on in its folder, with whatever images there are
by now. Where it said the same of the same pool, what was written of the one before that stays: a run that is only
carried out again takes no news away.

Columns: path, id, status ("both", "new", "gone"), rank and rank_before (among the images that both have, from 1; null
for others), score and score_before, rejected and rejected_before (null where nothing is rejected). The pool's images
stand in the order of pool.csv, those that are gone behind.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv

from swag_ray.config import Config
from swag_ray.errors import InputError
from swag_ray.record.csv_cells import csv_text
from swag_ray.record.files import CHANGES_FILE, CONFIG_FILE, METRICS_FILE, POOL_FILE, explain_write_errors, write_csv
from swag_ray.record.run_directory import config_there, difference

BOTH, NEW, GONE = "both", "new", "gone"
MOST = 10  # images that a list holds
POOL = {"path": pa.string(), "id": pa.string(), "score": pa.float64(), "rejected": pa.bool_()}
CHANGES = {"path": pa.string(), "id": pa.string(), "status": pa.string(), "rank": pa.int64(), "rank_before": pa.int64(),
           "rejected": pa.bool_(), "rejected_before": pa.bool_()}  # fmt: skip


@dataclass(frozen=True)
class ChangedImage:
    """An image that both runs have.

    Attributes:
        name: its path, or its id where paths are not recorded.
        rank_before, rank: among the images of both runs, from 1, the most suspicious first.
    """

    name: str
    rank_before: int
    rank: int


@dataclass(frozen=True)
class Changes:
    """What changes.csv says.

    Attributes:
        both, new, gone: images of the pool.
        new_rejected: of the new ones, those picked as likely anomalies; None where nothing is.
        now_rejected, no_longer: of both, those that became one and that no longer are; None where nothing is.
        became: the first of those that became one, the most suspicious first.
        moved: those of both whose rank moved most.
    """

    both: int
    new: int
    gone: int
    new_rejected: int | None
    now_rejected: int | None
    no_longer: int | None
    became: tuple[ChangedImage, ...]
    moved: tuple[ChangedImage, ...]


def write_changes(directory: Path, draft: Path, config: Config) -> None:
    """Writes changes.csv of a run that is about to replace another.

    None is written where the folder holds no finished run of this config, where that had none of these images, or
    where its files cannot be read.

    Args:
        directory: the run's folder, as the run before left it.
        draft: its next files, with pool.csv.
        config: of the run.

    Raises:
        StorageError: it cannot be written.
    """
    before = _pool_before(directory, config)
    if before is None:
        return
    after = _read(draft / POOL_FILE, POOL)
    with explain_write_errors(draft):
        if all(before.column(name).equals(after.column(name)) for name in ("id", "score", "rejected")):
            if (directory / CHANGES_FILE).exists():
                shutil.copyfile(directory / CHANGES_FILE, draft / CHANGES_FILE)
        elif (table := _compared(before, after)) is not None:
            write_csv(draft / CHANGES_FILE, table)


def read_changes(path: Path) -> Changes | None:
    """Reads a changes.csv; None where there is none.

    Raises:
        InputError: it is damaged.
    """
    if not path.exists():
        return None
    try:
        table = _read(path, CHANGES)
    except (OSError, ValueError, pa.ArrowException):
        raise InputError(f"{path}: is damaged", "remove it or run the experiment again") from None
    status = table.column("status")
    both = table.filter(pc.equal(status, BOTH))
    now, before = both.column("rejected"), both.column("rejected_before")
    became = both.filter(pc.and_(now, pc.invert(before)))
    rank_N, before_N = (both.column(name).to_numpy() for name in ("rank", "rank_before"))
    moved = np.lexsort((rank_N, -np.abs(rank_N - before_N)))[:MOST]
    moved = moved[rank_N[moved] != before_N[moved]]
    picks = now.null_count < len(both) and before.null_count < len(both)
    new_picks = table.filter(pc.equal(status, NEW)).column("rejected")
    return Changes(
        both=len(both), new=_count(pc.equal(status, NEW)), gone=_count(pc.equal(status, GONE)),
        new_rejected=_count(new_picks) if picks else None, now_rejected=len(became) if picks else None,
        no_longer=_count(pc.and_(before, pc.invert(now))) if picks else None,
        became=_images(became.slice(0, MOST)), moved=_images(both.take(pa.array(moved))),
    )  # fmt: skip


def _pool_before(directory: Path, config: Config) -> pa.Table | None:
    if not (directory / METRICS_FILE).exists() or not (directory / POOL_FILE).exists():
        return None
    try:
        if difference(config_there(directory / CONFIG_FILE), config):  # it is being replaced on purpose
            return None
        return _read(directory / POOL_FILE, POOL)
    except (InputError, OSError, ValueError, pa.ArrowException):
        return None


def _compared(before: pa.Table, after: pa.Table) -> pa.Table | None:
    """The table of changes; None where no image is in both."""
    place_N = pc.index_in(after.column("id"), before.column("id").combine_chunks())  # of each in the earlier pool
    held_N = place_N.is_valid()
    back_M = pc.is_in(before.column("id"), after.column("id").combine_chunks())
    if not _count(held_N):
        return None
    then, gone = before.take(place_N), before.filter(pc.invert(back_M))
    rank_M = _ranks(back_M.to_numpy())
    missing = pa.nulls(len(gone), pa.int64())
    columns = {
        "path": [after.column("path"), gone.column("path")],
        "id": [after.column("id"), gone.column("id")],
        "status": [pc.if_else(held_N, BOTH, NEW), pa.array([GONE] * len(gone), pa.string())],
        "rank": [_masked(_ranks(held_N.to_numpy())), missing],
        "rank_before": [_masked(rank_M).take(place_N), missing],
        "score": [after.column("score"), pa.nulls(len(gone), pa.float64())],
        "score_before": [then.column("score"), gone.column("score")],
        "rejected": [after.column("rejected"), pa.nulls(len(gone), pa.bool_())],
        "rejected_before": [then.column("rejected"), gone.column("rejected")],
    }
    return pa.table({name: pa.chunked_array(_chunks(parts)) for name, parts in columns.items()})


def _chunks(parts: list[pa.Array | pa.ChunkedArray]) -> list[pa.Array]:
    return [chunk for part in parts for chunk in (part.chunks if isinstance(part, pa.ChunkedArray) else [part])]


def _ranks(held_N: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Ranks from 1 among those that are held, 0 for others."""
    return np.where(held_N, np.cumsum(held_N), 0)


def _masked(rank_N: NDArray[np.int64]) -> pa.Array:
    return pa.array(rank_N, pa.int64(), mask=rank_N == 0)


def _count(values: pa.Array | pa.ChunkedArray) -> int:
    return int(pc.sum(values).as_py() or 0)


def _images(table: pa.Table) -> tuple[ChangedImage, ...]:
    return tuple(
        ChangedImage(csv_text(row["path"] or row["id"]), row["rank_before"], row["rank"]) for row in table.to_pylist()
    )


def _read(path: Path, types: dict[str, pa.DataType]) -> pa.Table:
    convert = csv.ConvertOptions(
        include_columns=list(types), column_types=types, strings_can_be_null=False, quoted_strings_can_be_null=False
    )
    return csv.read_csv(path, csv.ReadOptions(), csv.ParseOptions(newlines_in_values=True), convert)
