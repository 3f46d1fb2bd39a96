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

from swag_ray.cluster.extraction import ShardExtractor
from swag_ray.cluster.sample_actors import SampleActor, SamplePool
from swag_ray.cluster.session import Session
from swag_ray.errors import InputError
from swag_ray.features.spec import FeatureSpec
from swag_ray.features.weights import weights_digest

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


def threads(reader: Any = None, task: int = 0) -> tuple[str | None, int, dict[str, int]]:
    """OMP_NUM_THREADS, and the threads of torch and of every BLAS and OpenMP that this process has loaded."""
    import torch
    from threadpoolctl import threadpool_info

    libraries = {Path(library["filepath"]).name: library["num_threads"] for library in threadpool_info()}
    return os.environ.get("OMP_NUM_THREADS"), torch.get_num_threads(), libraries


def extractors_threads(root: str) -> tuple[str | None, int, dict[str, int]]:
    name = "tf_efficientnet_lite0"
    ShardExtractor(root, FeatureSpec(name, "bundled", weights_digest(name, "bundled"), 64, (8,), 8))
    return threads()


def die_once(reader: Any, task: int, folder: str) -> tuple[int, int]:
    """kill -9 of the own process in the middle of the first try; says how many shards the actor knows."""
    marker = Path(folder) / str(task)
    if task % 3 == 0 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return task * task, len(reader.shards)


def visible_gpus(reader: Any, task: int) -> str | None:
    return os.environ.get("CUDA_VISIBLE_DEVICES")


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


def test_an_actor_that_was_given_no_gpu_sees_none(pool: SamplePool) -> None:
    """Ray shows it all of them (`cluster.gpus: 0` on a machine that has one)."""
    assert pool.map(visible_gpus, [0]) == [""]


def test_all_actors_work_with_one_thread_each(pool: SamplePool) -> None:
    assert len(set(pool.map(who, range(12)))) == 2
    for _, of_torch, of_others in pool.map(threads, range(4)):
        assert of_torch == 1 and set(of_others.values()) == {1}


@pytest.mark.parametrize("kind", ["sample actor", "extraction actor"])
def test_an_actor_has_one_thread_whatever_the_machine_is_told(pool: SamplePool, tmp_path: Path, kind: str) -> None:
    """numpy's BLAS too, which heeds neither torch's setting nor faiss'."""
    two = {"num_cpus": 0, "runtime_env": {"env_vars": {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}}}
    if kind == "sample actor":
        actor = SampleActor.options(**two).remote()  # type: ignore[attr-defined]
        told, of_torch, of_others = ray.get(actor.run.remote(threads, pool._files, 0))
        ray.kill(actor)
        assert any("faiss" in name or "gomp" in name for name in of_others)
    else:
        told, of_torch, of_others = ray.get(ray.remote(**two)(extractors_threads).remote(str(tmp_path)))
    assert told == "2" and any("openblas" in name for name in of_others), "this test needs a numpy that was told"
    assert of_torch == 1 and set(of_others.values()) == {1}, of_others


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
