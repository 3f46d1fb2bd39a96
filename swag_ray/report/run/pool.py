"""rounds.parquet, read a batch at a time: of a large pool, only one round's figures are ever in memory.

Shapes: N pool images of one round, V values at an end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from swag_ray.report.page.reading import damaged, missing
from swag_ray.report.run.tables import floats, labels

BATCH, BUFFER = 2**15, 2**20  # rows, bytes
SPAN = (0.2, 99.0)  # percentiles of z_s that a drawing spans


@dataclass(frozen=True)
class PoolRound:
    """The pool in one round. `ever_N`: admitted in it or in an earlier one."""

    z_N: NDArray[np.float64]
    p_N: NDArray[np.float64]
    label_N: NDArray[np.int8]
    ever_N: NDArray[np.bool_]


@dataclass(frozen=True)
class PoolRounds:
    """What a first look at the file shows; `read` gives one round.

    Attributes:
        rounds: numbers of the rounds.
        span: the percentiles `SPAN` of all finite z_s; None where there is none.
        labelled: whether any label is known.
        anomaly_admitted: whether any image that was admitted is an anomaly.
        admitted: table of the images that were ever admitted: id, and round of their first admission.
    """

    path: Path
    rounds: list[int]
    span: tuple[float, float] | None
    labelled: bool
    anomaly_admitted: bool
    admitted: pa.Table

    def read(self, number: int) -> PoolRound:
        """Returns the pool in a round, in the order of the file.

        Raises:
            InputError: the file is damaged.
        """
        until = self.admitted.filter(pc.less_equal(self.admitted["round"], number))["id"].combine_chunks()
        z, p, label, ever = [], [], [], []
        with _told(self.path):
            for whole in _batches(self.path, ("round", "id", "z_s", "p", "label"), number):
                batch = whole.filter(pc.equal(whole["round"], number))
                z.append(floats(batch, "z_s"))
                p.append(floats(batch, "p"))
                label.append(labels(batch))
                ever.append(np.asarray(pc.is_in(batch["id"].cast(pa.string()), value_set=until).to_numpy(), dtype=bool))
        empty = np.empty(0)
        return PoolRound(
            np.concatenate([empty, *z]), np.concatenate([empty, *p]),
            np.concatenate([empty.astype(np.int8), *label]), np.concatenate([empty.astype(bool), *ever]),
        )  # fmt: skip


def read_pool(path: Path) -> PoolRounds:
    """Looks a rounds.parquet through.

    Raises:
        InputError: it is missing or damaged.
    """
    with _told(path):
        return _first_look(path)


def _first_look(path: Path) -> PoolRounds:
    ends, counts = _Ends(_rows(path)), dict[int, int]()
    labelled = anomaly_admitted = False
    admitted: list[pa.Table] = []
    for batch in _batches(path, ("round", "id", "z_s", "label", "admitted")):
        number, count = np.unique(np.asarray(batch["round"].to_numpy(), dtype=np.int64), return_counts=True)
        for key, value in zip(number.tolist(), count.tolist(), strict=True):
            counts[key] = counts.get(key, 0) + value
        ends.add(floats(batch, "z_s"))
        label_N = labels(batch)
        labelled |= bool((label_N >= 0).any())
        if "admitted" in batch.column_names:
            in_N = pc.fill_null(batch["admitted"].cast(pa.bool_()), False)
            admitted.append(batch.select(["id", "round"]).filter(in_N))
            anomaly_admitted |= bool((label_N[np.asarray(in_N.to_numpy(), dtype=bool)] == 1).any())
    schema = pa.schema({"id": pa.string(), "round": pa.int64()})
    first = pa.concat_tables([schema.empty_table(), *(table.cast(schema) for table in admitted)])
    first = first.group_by("id").aggregate([("round", "min")]).rename_columns(["id", "round"])
    return PoolRounds(path, sorted(counts), ends.percentiles(), labelled, anomaly_admitted, first)


class _Ends:
    """The smallest and the largest of many values, as many as the percentiles `SPAN` need.

    Args:
        most: values to come, at most.
    """

    def __init__(self, most: int) -> None:
        self.count = 0
        self.size = (int(most * SPAN[0] / 100) + 2, int(most * (100 - SPAN[1]) / 100) + 2)
        self.low_V = self.high_V = np.empty(0)

    def add(self, value_N: NDArray[np.float64]) -> None:
        value_N = value_N[np.isfinite(value_N)]
        self.count += len(value_N)
        low_V, high_V = np.concatenate([self.low_V, value_N]), np.concatenate([self.high_V, value_N])
        low, high = self.size
        self.low_V = np.sort(low_V)[:low]
        self.high_V = np.sort(high_V)[-high:]

    def percentiles(self) -> tuple[float, float] | None:
        """Returns what `np.percentile` gives for all values."""
        if not self.count:
            return None
        below = self.count - len(self.high_V)  # values that are in front of those at the upper end
        return self._at(SPAN[0], self.low_V, 0), self._at(SPAN[1], self.high_V, below)

    def _at(self, percentile: float, value_V: NDArray[np.float64], first: int) -> float:
        place = percentile / 100 * (self.count - 1)
        index = int(place)
        a, b = value_V[index - first], value_V[min(index + 1, self.count - 1) - first]
        t = place - index
        return float(a + (b - a) * t if t < 0.5 else b - (b - a) * (1 - t))


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Whatever reading the file comes out as is one line."""
    try:
        yield
    except FileNotFoundError:
        raise missing(path) from None
    except (OSError, ValueError, TypeError, pa.ArrowException) as error:
        raise damaged(path, error) from None


def _open(path: Path) -> pq.ParquetFile:
    # By pages: else a whole column of a whole row group is read at once.
    return pq.ParquetFile(path, buffer_size=BUFFER, pre_buffer=False)


def _rows(path: Path) -> int:
    with _open(path) as file:
        absent = [name for name in ("round", "id", "z_s") if name not in file.schema_arrow.names]
        if absent:
            raise damaged(path, f"no column {', '.join(absent)}")
        return int(file.metadata.num_rows)


def _batches(path: Path, wanted: Sequence[str], number: int | None = None) -> Iterator[pa.Table]:
    """Some rows after the other; of a round, the row groups that may hold it."""
    with _open(path) as file:
        names = [name for name in wanted if name in file.schema_arrow.names]
        groups = [i for i in range(file.num_row_groups) if number is None or _may_hold(file, i, number)]
        for batch in file.iter_batches(BATCH, groups, names, use_threads=False):
            yield pa.Table.from_batches([batch])


def _may_hold(file: pq.ParquetFile, group: int, number: int) -> bool:
    metadata = file.metadata.row_group(group)
    columns = [metadata.column(i) for i in range(metadata.num_columns)]
    found = next((c.statistics for c in columns if c.path_in_schema == "round"), None)
    return found is None or not found.has_min_max or found.min <= number <= found.max
