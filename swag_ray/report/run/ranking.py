"""pool.csv, which ranks the pool by suspicion, read a block at a time: of a large pool little is ever in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
from pyarrow import csv

from swag_ray.record.csv_cells import csv_text
from swag_ray.report.page.reading import damaged

BLOCK = 2**20  # bytes
MOST = 30  # rows of a list that the page shows
WANTED = ("path", "id", "score", "p", "rejected", "admitted", "round")


@dataclass(frozen=True)
class RankedImage:
    """A row of pool.csv.

    Attributes:
        rank: from 1, the most suspicious first.
        name: its path, or its id where paths are not recorded.
        score, p: None where it has none.
        rejected: whether it was picked as a likely anomaly; None where nothing is.
        round: of its last admission; None where there was none.
    """

    rank: int
    name: str
    score: float | None
    p: float | None
    rejected: bool | None
    round: int | None


@dataclass
class PoolRanking:
    """What the page shows of a ranked pool.

    Attributes:
        count: images of the pool.
        rejected: how many were picked as likely anomalies; None where nothing is.
        first: the most suspicious.
        admitted: the most suspicious of those that are held at the end.
    """

    count: int = 0
    rejected: int | None = None
    first: list[RankedImage] = field(default_factory=list)
    admitted: list[RankedImage] = field(default_factory=list)


def read_ranking(path: Path) -> PoolRanking:
    """Reads the file.

    Raises:
        InputError: it is damaged.
    """
    found = PoolRanking()
    try:
        for rows in _blocks(path):
            for row in rows:
                _add(found, row)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise damaged(path, error) from None
    return found


def _blocks(path: Path) -> Iterator[list[dict[str, str]]]:
    options = csv.ConvertOptions(
        include_columns=list(WANTED), column_types=dict.fromkeys(WANTED, pa.string()), strings_can_be_null=False
    )
    if not path.stat().st_size:
        raise ValueError("it is empty")
    with csv.open_csv(
        path, csv.ReadOptions(use_threads=False, block_size=BLOCK), csv.ParseOptions(newlines_in_values=True), options
    ) as file:
        for batch in file:
            yield batch.to_pylist()


def _add(found: PoolRanking, row: dict[str, str]) -> None:
    found.count += 1
    if row["rejected"]:
        found.rejected = (found.rejected or 0) + (row["rejected"] == "true")
    held = row["admitted"] == "true"
    if len(found.first) >= MOST and not (held and len(found.admitted) < MOST):
        return
    image = RankedImage(
        found.count,
        csv_text(row["path"] or row["id"]),
        float(row["score"]) if row["score"] else None,
        float(row["p"]) if row["p"] else None,
        row["rejected"] == "true" if row["rejected"] else None,
        int(row["round"]) if row["round"] else None,
    )
    if len(found.first) < MOST:
        found.first.append(image)
    if held and len(found.admitted) < MOST:
        found.admitted.append(image)
