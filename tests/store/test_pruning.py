"""Pruning: by last use, never what a run in progress needs, never by a number that is none."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from swag_ray.errors import InputError
from swag_ray.store.pruning import contents, prune
from swag_ray.store.stages import Result
from swag_ray.store.store import MARKER, Store
from swag_ray.store.use import in_use, note_shards_used
from tests.support.command_line import Command

DAY = 86400.0


def entry(store: Store, name: str, days_old: float) -> Path:
    """A stage that was written so long ago."""
    store.save("fit", name, Result({"x": np.arange(3)}))
    folder = Path(store.path("stages", "fit", name))
    for path in (folder, *folder.iterdir()):
        age(path, days_old)
    return folder


def age(path: Path, days_old: float) -> None:
    then = time.time() - days_old * DAY
    os.utime(path, (then, then))


def pruned(store: Store, days: float) -> int:
    return prune(store, days=days, features=True, remove=True)["entries"]


def test_age_counts_from_the_last_use(tmp_path: Path) -> None:
    store = Store(tmp_path)
    used, unused = entry(store, "used", 40), entry(store, "unused", 40)
    assert store.load("fit", "used") is not None
    assert [round(row["newest_days"]) for row in contents(store)] == [0]
    assert pruned(store, 30) == 1 and used.exists() and not unused.exists()
    before = (used / MARKER).stat().st_mtime_ns
    store.load("fit", "used")
    assert (used / MARKER).stat().st_mtime_ns == before, "noted once an hour"


def test_shards_count_from_their_last_use_too(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for name in ("used.parquet", "unused.parquet"):
        path = Path(store.path("features", "f", name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"shard")
        age(path, 40)
    note_shards_used(store, "f", ["used.parquet"])
    assert pruned(store, 30) == 1 and os.listdir(store.path("features", "f")) == ["used.parquet"]


def test_a_run_in_progress_keeps_what_it_uses_and_nothing_else(tmp_path: Path) -> None:
    store = Store(tmp_path)
    needed, unneeded = entry(store, "needed", 3), entry(store, "unneeded", 3)
    draft = tmp_path / "tmp" / "half-written"
    draft.mkdir(parents=True, exist_ok=True)
    with in_use(store):
        store.load("fit", "needed")
        store.save("fit", "new", Result({"x": np.arange(3)}))
        assert prune(store, days=0, features=True, remove=True) == {
            "entries": 1, "bytes": pytest.approx(500, abs=400), "in_use": 2,
        }  # fmt: skip
        assert needed.exists() and not unneeded.exists() and draft.exists()
        assert store.load("fit", "new") is not None
    assert pruned(store, 0) == 2
    assert os.listdir(tmp_path / "in-use") == []


def test_the_mark_of_a_killed_run_counts_for_minutes_only(tmp_path: Path) -> None:
    store = Store(tmp_path)
    entry(store, "a", 0)
    mark = tmp_path / "in-use" / f"{time.time():.0f}-01234567"
    mark.parent.mkdir()
    mark.touch()
    assert pruned(store, 0) == 0
    age(mark, 1 / 24)
    assert pruned(store, 0) == 2, "the stage, and the mark itself"


def test_what_killed_processes_left_is_swept_by_the_next_run(tmp_path: Path) -> None:
    old, fresh = tmp_path / "tmp" / "old", tmp_path / "tmp" / "fresh"
    for folder in (old, fresh):
        folder.mkdir(parents=True)
        (folder / "arrays.npz").write_bytes(b"half")
    age(old, 2)
    with in_use(Store(tmp_path)):
        assert not old.exists() and fresh.exists(), "somebody may be writing the fresh one"


@pytest.mark.parametrize("days", ["nan", "inf", "-1"])
def test_what_is_no_number_of_days(tmp_path: Path, command: Command, days: str) -> None:
    kept = entry(Store(tmp_path), "kept", 40)
    said = command("store", "prune", "--store", tmp_path, "--yes", f"--older-than={days}").complaint
    assert said == f"--older-than: {days} is no number of days; give 0 or more"
    assert kept.exists()


def test_a_store_that_is_not_there_is_told(tmp_path: Path, command: Command) -> None:
    for arguments in (["list"], ["prune", "--yes"]):
        said = command("store", *arguments, "--store", tmp_path / "none").complaint
        assert said == f"store: '{tmp_path}/none' does not exist; give the path or address of a store"
    with pytest.raises(InputError):
        contents(Store(tmp_path / "none"))
    assert not (tmp_path / "none").exists()
