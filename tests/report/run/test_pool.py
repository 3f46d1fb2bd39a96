"""rounds.parquet a round at a time: the same figures, and little memory however large the pool."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from swag_ray.errors import InputError
from swag_ray.report.run.page import write_report
from swag_ray.report.run.pool import SPAN, _Ends, read_pool
from tests.report.run.fixture import write_run

ROUNDS, BUDGET = 6, 80
SMALL, LARGE = 5_000, 50_000
BYTES_AN_IMAGE = 200


def write_rounds(path: Path, images: int, groups: int | None) -> pa.Table:
    """A pool as a run leaves it: names of 40 letters, a budget of images admitted in each round."""
    generator = np.random.default_rng(0)
    names, label = [f"person{i:06d}_bacteria_1-{i:016x}" for i in range(images)], generator.random(images) < 0.3
    parts = []
    for n in range(ROUNDS):
        z = generator.normal(size=images) + 2 * label
        admitted = np.zeros(images, bool)
        admitted[np.argsort(z)[n * BUDGET : (n + 1) * BUDGET] if n else []] = True
        parts.append(
            pa.table(
                {
                    "round": pa.array(np.full(images, n), pa.int32()), "id": names, "fold": np.zeros(images, np.int8),
                    "s": z, "u": z, "z_s": pa.array(z, mask=generator.random(images) < 0.01), "z_u": z,
                    "p": generator.random(images), "rejected": label, "candidate": admitted, "admitted": admitted,
                    "label": label,
                }
            )
        )  # fmt: skip
    table = pa.concat_tables(parts)
    pq.write_table(table, path, row_group_size=groups)
    return table


@pytest.mark.parametrize("groups", [None, 500, 170])
def test_the_same_as_from_the_whole_table(tmp_path: Path, groups: int | None) -> None:
    """However the rows are grouped in the file."""
    path = tmp_path / "rounds.parquet"
    table = write_rounds(path, 500, groups).to_pandas()
    pool = read_pool(path)
    assert pool.rounds == list(range(ROUNDS)) and pool.labelled
    assert pool.span == tuple(np.percentile(table["z_s"].dropna(), SPAN))
    assert pool.anomaly_admitted == bool((table["admitted"] & table["label"]).any())
    ever: set[str] = set()
    for n, rows in table.groupby("round"):
        ever |= set(rows["id"][rows["admitted"]])
        found = pool.read(int(n))
        assert np.array_equal(found.z_N, rows["z_s"], equal_nan=True) and np.array_equal(found.p_N, rows["p"])
        assert found.label_N.tolist() == rows["label"].astype(int).tolist()
        assert found.ever_N.tolist() == rows["id"].isin(ever).tolist()


@pytest.mark.parametrize("count", [1, 2, 3, 7, 100, 101, 999, 4000])
def test_percentiles_are_those_of_numpy(count: int) -> None:
    generator = np.random.default_rng(count)
    value_N = np.round(generator.normal(size=count), 2)
    ends = _Ends(count + 50)  # some of the rows hold no value
    for part in np.array_split(value_N, 3):
        ends.add(np.append(part, np.nan))
    assert ends.percentiles() == tuple(np.percentile(value_N, SPAN))


def test_a_pool_without_rows_or_figures(tmp_path: Path) -> None:
    table = pa.table(
        {"round": pa.array([], pa.int32()), "id": pa.array([], pa.string()), "z_s": pa.array([], pa.float64())}
    )
    pq.write_table(table, tmp_path / "rounds.parquet")
    pool = read_pool(tmp_path / "rounds.parquet")
    assert pool.rounds == [] and pool.span is None and len(pool.read(0).z_N) == 0


@pytest.mark.parametrize("column", ["round", "z_s", "label"])
def test_a_column_of_another_kind_is_one_line(tmp_path: Path, column: str) -> None:
    path = tmp_path / "rounds.parquet"
    table = write_rounds(path, 20, None)
    texts = pa.array(["many"] * len(table))
    pq.write_table(table.set_column(table.column_names.index(column), column, texts), path)
    with pytest.raises(InputError, match=r"rounds\.parquet: cannot be read \("):
        read_pool(path)


def peak(folder: Path, images: int) -> int:
    """Most bytes held at a time while the page is made, by Python, numpy and Arrow, beyond what was held before.

    What the process holds already is left out of the garbage collector: it collects the more seldom, the more it
    watches, and drawings that are done with would count or not by what tests ran before.
    """
    write_rounds(folder / "rounds.parquet", images, images)
    before = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(before)
    pa.set_memory_pool(pool)
    gc.freeze()
    gc.collect()
    tracemalloc.start()
    try:
        write_report(folder)
        return tracemalloc.get_traced_memory()[1] + pool.max_memory()
    finally:
        tracemalloc.stop()
        gc.unfreeze()
        pa.set_memory_pool(before)


@pytest.mark.slow
def test_a_pool_image_costs_the_report_few_bytes(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", overlays=0)
    write_report(run)  # what is loaded and kept once is no cost of a pool
    small, large = (peak(run, images) for images in (SMALL, LARGE))
    cost = (large - small) / (LARGE - SMALL)
    print(f"{cost:.0f} bytes per pool image; {small / 2**20:.1f} and {large / 2**20:.1f} MiB")
    assert cost <= BYTES_AN_IMAGE
