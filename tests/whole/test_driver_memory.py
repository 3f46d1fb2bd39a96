"""What the driver needs an image, besides the table of images, to split, find and order them: a large pool is cheap."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from swag_ray.features.cohort import build_cohort
from swag_ray.features.index import feature_set
from swag_ray.features.recipe import Recipe
from swag_ray.features.shards import shard_table, write_shard
from swag_ray.features.spec import FeatureSpec
from swag_ray.images.audit import build_audit
from swag_ray.images.split import make_split
from swag_ray.progress import Progress
from swag_ray.store.store import Store

SPEC = FeatureSpec("made", "none", "none", 64, (8,), 8)
SMALL, LARGE, SHARD = 2_000, 20_000, 500
# A name is 64 bytes in Arrow and over 120 as a Python string in a list. Held at a time: a sorted copy or two of one
# column, numbers, and a few thousand Python strings whatever the pool.
BYTES_AN_IMAGE = 250


def images(count: int) -> pa.Table:
    names = pa.array([f"{i:064x}" for i in range(count)])
    return pa.table(
        {
            "id": names, "path": names, "sha256": names, "group": names, "file_bytes": np.arange(count),
            "split": np.where(np.arange(count) % 20, "train", "test").tolist(), "label": np.arange(count) % 3 == 0,
            "kind": pa.nulls(count, pa.string()),
        }
    )  # fmt: skip


def keep(store: Store, table: pa.Table) -> None:
    nothing = {"error": None, "features": None, "statistics": None, "width": 9, "height": 9}
    for start in range(0, len(table), SHARD):
        names = table.column("sha256")[start : start + SHARD].to_pylist()
        path = store.path("features", SPEC.fingerprint, f"{start // SHARD:04d}.parquet")
        write_shard(store, path, shard_table(names, [nothing] * len(names), [8]))


def nobody(missing: dict[str, Recipe], size: int) -> Iterator[tuple[int, int, float]]:
    raise AssertionError("nothing is missing, so no Ray is needed")


def steps(store: Store, table: pa.Table) -> dict[str, Callable[[], Any]]:
    made: dict[str, Any] = {}

    def split() -> None:
        made["split"] = make_split(table, seed_fraction=0.1, folds=5, contamination=0.1, random_seed=0)

    def find() -> None:
        made["rows"] = feature_set(store, SPEC, table.column("path"), table.column("sha256"), nobody, Progress()).rows

    def order() -> None:
        made["cohort"] = build_cohort(table, made["split"], made["rows"], 5, SPEC.fingerprint)
        made["audit"] = build_audit(table, made["split"])

    return {"split": split, "index and look up": find, "look up": find, "cohort": order}


def peaks(root: Path, count: int, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Most bytes held at a time in each step, by Python, numpy and Arrow, beyond what was held before it."""
    store, table = Store(root / str(count)), images(count)
    keep(store, table)
    before = pa.default_memory_pool()
    # The lookup chooses Arrow's allocator on its way; here Arrow keeps to the one that counts.
    monkeypatch.setattr("swag_ray.features.index.give_back_freed_memory", lambda: None)
    found = {}
    try:
        for name, step in steps(store, table).items():
            pool = pa.proxy_memory_pool(before)
            pa.set_memory_pool(pool)
            tracemalloc.start()
            step()
            found[name] = tracemalloc.get_traced_memory()[1] + pool.max_memory()
            tracemalloc.stop()
    finally:
        tracemalloc.stop()
        pa.set_memory_pool(before)
    return found


def test_an_image_costs_the_driver_few_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = (peaks(tmp_path, count, monkeypatch) for count in (SMALL, LARGE))
    an_image = {name: round((large[name] - small[name]) / (LARGE - SMALL)) for name in large}
    assert all(cost <= BYTES_AN_IMAGE for cost in an_image.values()), f"bytes an image: {an_image}"
