"""What the driver needs an image, besides the table of images, to split, embed, find and order them: a large pool is
cheap.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from swag_ray.cluster.extraction import WorkItems, extract_shards
from swag_ray.cluster.session import Session
from swag_ray.errors import InputError
from swag_ray.features.cohort import build_cohort
from swag_ray.features.index import feature_set
from swag_ray.features.recipe import Recipe
from swag_ray.features.shards import shard_table, write_shard
from swag_ray.features.spec import FeatureSpec
from swag_ray.features.variants import plan_variants
from swag_ray.images.audit import build_audit
from swag_ray.images.split import SEED, make_split
from swag_ray.progress import Progress
from swag_ray.store.store import Store

SPEC = FeatureSpec("made", "none", "none", 64, (8,), 8)
SMALL, LARGE, SHARD = 2_000, 20_000, 500
SEED_FRACTION, VARIANTS = 0.3, (("foreign_patch", "opacities"), 1)  # the defaults
# A name is 64 bytes in Arrow and over 120 as a Python string in a list. Held at a time: a sorted copy or two of one
# column, numbers, and a few thousand Python strings whatever the pool.
BYTES_AN_IMAGE = 250
BYTES_A_RECIPE = 80  # with Ray Data's own of a shard of 64: 34 on one machine, 620 were they made all at once


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
    for start in range(0, len(table), SHARD):
        keep_shard(store, f"{start // SHARD:04d}.parquet", table.column("sha256")[start : start + SHARD].to_pylist())


def keep_shard(store: Store, name: str, keys: list[str]) -> None:
    nothing = {"error": None, "features": None, "statistics": None, "width": 9, "height": 9}
    path = store.path("features", SPEC.fingerprint, name)
    write_shard(store, path, shard_table(keys, [nothing] * len(keys), [8]))


class Weightless(FeatureSpec):
    """Features that are only said to be there."""

    def weights_in(self, store: Store) -> None:
        return None


def nobody(missing: Sequence[Recipe], size: int) -> Iterator[tuple[int, int, float]]:
    raise AssertionError("nothing is missing, so no Ray is needed")


def steps(store: Store, empty: Store, table: pa.Table) -> dict[str, Callable[[], Any]]:
    made: dict[str, Any] = {}

    def split() -> None:
        made["split"] = make_split(table, seed_fraction=SEED_FRACTION, folds=5, contamination=0.1, random_seed=0)

    def plan() -> None:
        found = made["split"]
        seeds = table.take(pa.array(np.flatnonzero(found.role_N == SEED)))
        files = list(zip(*(seeds.column(name).to_pylist() for name in ("path", "sha256")), strict=True))
        kinds, each = VARIANTS
        fold_n = found.fold_N[found.role_N == SEED]
        made["plan"] = plan_variants(files, fold_n, kinds, per_seed=each, random_seed=0)

    def embed() -> None:
        def extract(missing: Sequence[Recipe], size: int) -> Iterator[tuple[int, int, float]]:
            """Writes the shards one by one, as the actors do, which are not of the driver."""
            for item in WorkItems(missing, size):
                keep_shard(empty, item["name"], [Recipe(**fields).key for fields in item["recipes"]])
                yield 0, len(item["recipes"]), 0.0

        spec, (path_N, sha256_N) = Weightless(*astuple(SPEC)), (table.column(name) for name in ("path", "sha256"))
        found = feature_set(empty, spec, path_N, sha256_N, extract, Progress(), made["plan"].recipes)
        assert found.extracted == len(table) + len(made["plan"].recipes)

    def find() -> None:
        made["rows"] = feature_set(store, SPEC, table.column("path"), table.column("sha256"), nobody, Progress()).rows

    def order() -> None:
        made["cohort"] = build_cohort(table, made["split"], made["rows"], 5, SPEC.fingerprint)
        made["audit"] = build_audit(table, made["split"])

    return {
        "split": split, "plan variants": plan, "embed": embed, "index and look up": find, "look up": find,
        "cohort": order,
    }  # fmt: skip


def peaks(root: Path, count: int, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Most bytes held at a time in each step, by Python, numpy and Arrow, beyond what was held before it."""
    store, empty, table = Store(root / str(count)), Store(root / f"empty{count}"), images(count)
    keep(store, table)
    before = pa.default_memory_pool()
    # The lookup chooses Arrow's allocator on its way; here Arrow keeps to the one that counts.
    monkeypatch.setattr("swag_ray.features.index.give_back_freed_memory", lambda: None)
    found = {}
    try:
        for name, step in steps(store, empty, table).items():
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


class Files(Sequence[Recipe]):
    """Recipes that nobody holds."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, asked: Any) -> Any:
        return [Recipe(f"/images/{i:064x}", f"{i:064x}") for i in range(*asked.indices(self.count))]


@pytest.mark.ray
def test_what_is_extracted_costs_the_driver_little_on_its_way_to_ray_data(local_ray: None, tmp_path: Path) -> None:
    """Up to the first shard, which ends it: of these features no actor has the weights."""
    peak = {}
    for count in (SHARD, SMALL, LARGE):  # the first imports what it needs
        tracemalloc.start()
        try:
            with pytest.raises(InputError, match="timm knows no model"):
                list(extract_shards(Store(tmp_path), SPEC, Files(count), 64, Session(2, 0, 1)))
            peak[count] = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak[LARGE] - peak[SMALL] <= BYTES_A_RECIPE * (LARGE - SMALL), peak
