"""Sample actors: results in the order of the tasks, one thread each, and a killed one is missed by nobody."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

from swag_ray.cluster.sample_actors import SamplePool
from swag_ray.cluster.session import Session
from swag_ray.errors import InputError

pytestmark = pytest.mark.ray
MANY = [f"{i:024x}.parquet" for i in range(4_000)]  # more than travels inside a call


@pytest.fixture(scope="module")
def pool(local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SamplePool]:
    with SamplePool(Session(2, 0, 2), str(tmp_path_factory.mktemp("store")), "f", MANY) as pool:
        ray.get([actor.ready.remote() for actor in pool.actors])
        yield pool


def square(reader: Any, task: int, *shared: Any) -> int:
    return task * task + sum(int(np.sum(s)) for s in shared)


def who(reader: Any, task: int) -> int:
    return os.getpid()


def threads(reader: Any, task: int) -> tuple[int, int]:
    import faiss
    import torch

    return torch.get_num_threads(), faiss.omp_get_max_threads()


def die_once(reader: Any, task: int, folder: str) -> tuple[int, int]:
    """kill -9 of the own process in the middle of the first try; says how many shards the actor knows."""
    marker = Path(folder) / str(task)
    if task % 3 == 0 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return task * task, len(reader.shards)


def refuse(reader: Any, task: int) -> None:
    raise InputError("memory.neighbours: too many")


def test_results_in_the_order_of_the_tasks(pool: SamplePool) -> None:
    done: list[int] = []
    assert pool.map(square, range(20), advance=done.append) == [i * i for i in range(20)]
    assert done == [1] * 20
    shared = np.ones(50_000)
    assert pool.map(square, [1, 2], shared, 5) == [50_006, 50_009]
    assert pool.map(square, [1, 2], ray.put(shared)) == [50_001, 50_004], "a reference is passed on, not put again"
    assert ray.get(pool.references(square, [3, 4])) == [9, 16]
    assert pool.map(square, []) == []


def test_all_actors_work_with_one_thread_each(pool: SamplePool) -> None:
    assert len(set(pool.map(who, range(12)))) == 2
    assert set(pool.map(threads, range(4))) == {(1, 1)}


def test_a_bad_input_comes_out_as_its_one_line(pool: SamplePool) -> None:
    with pytest.raises(InputError, match=r"^memory\.neighbours: too many$"):
        pool.map(refuse, [1, 2, 3])
    assert pool.map(square, [2]) == [4]


def test_killed_actors_come_back_and_their_tasks_run_again(pool: SamplePool, tmp_path: Path) -> None:
    """A restarted actor knows no features: they come with every task."""
    assert pool.map(die_once, range(5), str(tmp_path)) == [(i * i, len(MANY)) for i in range(5)]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0", "3"], "they did die"
    before = pool.map(who, range(8))
    ray.kill(pool.actors[0], no_restart=False)
    assert pool.map(square, range(8)) == [i * i for i in range(8)]
    after = ray.get([actor.run.remote(who, pool._files, 0) for actor in pool.actors])
    assert len(set(before) & set(after)) == 1
