"""Work that kills its process: tried again a few times, then given up under its name; lost nodes do not count."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import ray
from ray.experimental import internal_kv

from swag_ray.cluster import extraction
from swag_ray.cluster.attempts import MAX_DEATHS, MAX_STARTS, NAMESPACE, counted
from swag_ray.cluster.sample_actors import SamplePool
from swag_ray.cluster.session import Session, ray_session
from swag_ray.cluster.workers import RayWorkers
from swag_ray.errors import InputError
from swag_ray.features.reader import Rows
from swag_ray.features.recipe import Recipe
from swag_ray.features.spec import FeatureSpec
from swag_ray.features.weights import weights_digest
from swag_ray.models.tasks import FitTask, score_tasks
from swag_ray.store.stages import Result
from swag_ray.store.store import Store
from tests.support.images import blocks, encoded

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]  # each death is a process to start
KEY = "d" * 24
UNNOTICED = 100_000  # times that something small is done before Ray's monitor of memory has a look


def die(deaths: Path) -> NoReturn:
    """kill -9 of this process, which leaves a letter behind."""
    with deaths.open("a") as file:
        file.write("x")
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


def deadly(reader: Any, task: int, deaths: Path) -> int:
    """One task of several always ends its process."""
    return die(deaths) if task == 3 else task


class Deadly:
    """A decision that ends whoever writes it."""

    def __init__(self, deaths: Path) -> None:
        self.deaths = deaths

    @property
    def arrays(self) -> NoReturn:
        die(self.deaths)


class DeadlyExtractor(extraction.CountedExtractor):
    """Its shards of one image always end their process."""

    def _rows(self, images: list[tuple[str, str]]) -> Any:
        if len(images) == 1:
            die(Path(self.store.base) / "deaths")
        return super()._rows(images)


@pytest.fixture
def deaths(tmp_path: Path) -> Path:
    path = tmp_path / "deaths"
    path.touch()
    return path


@pytest.fixture
def in_time() -> Iterator[None]:
    """A minute, were the machine idle."""
    started = time.monotonic()
    yield
    share = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    assert time.monotonic() - started < 60 * share


def spec() -> FeatureSpec:
    name = "tf_efficientnet_lite0"
    return FeatureSpec(name, "bundled", weights_digest(name, "bundled"), 64, (8,), 8)


def kept() -> list[Any]:
    return internal_kv._internal_kv_list("", namespace=NAMESPACE)


@pytest.mark.cluster
def test_a_task_that_always_dies_is_given_up_by_name(
    local_ray: None, deaths: Path, tmp_path: Path, in_time: None
) -> None:
    with SamplePool(Session(2, 0, 2), str(tmp_path), "f", []) as pool:
        with pytest.raises(InputError) as refusal:
            pool.map(deadly, range(6), deaths)
        assert str(refusal.value) == (
            "cluster: deadly (3) was killed 5 times, most likely for want of memory; "
            "lower cluster.actors, or use nodes with more memory"
        )
        assert deaths.read_text() == "x" * MAX_DEATHS
        assert pool.map(deadly, [1, 2, 4], deaths) == [1, 2, 4], "the pool goes on"
    assert not kept(), "nothing is left of it in the cluster"


@pytest.mark.cluster
def test_a_shard_that_always_dies_is_given_up_by_name(
    local_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_time: None
) -> None:
    monkeypatch.setattr(extraction, "CountedExtractor", DeadlyExtractor)
    store = Store(tmp_path)
    with pytest.raises(
        InputError, match=r"^cluster: feature shard \w+\.parquet \(1 images, '/a' to '/a'\) was killed 5"
    ):
        list(extraction.extract_shards(store, spec(), [Recipe("/a", "0" * 64)], 2, Session(2, 0, 1)))
    assert (tmp_path / "deaths").read_text() == "x" * MAX_DEATHS
    assert not kept()


@pytest.mark.cluster
def test_a_bank_that_always_dies_is_given_up_by_name(
    local_ray: None, deaths: Path, tmp_path: Path, in_time: None
) -> None:
    with RayWorkers(actors=1) as workers:
        workers.use_features(str(tmp_path), "f", [], np.arange(3))
        with pytest.raises(
            InputError, match=f"^cluster: the memory bank, recording decision {KEY}, was killed 5 times"
        ):
            workers.record_decision(KEY, Deadly(deaths))  # type: ignore[arg-type]
    assert deaths.read_text() == "x" * MAX_DEATHS
    assert not kept()


@ray.remote(num_cpus=0)
def started_on(nodes: list[str], key: str) -> str:
    """What becomes of a piece that was started on these nodes and never ended."""
    entered = []  # none ends before this does
    for node in nodes:
        with pytest.MonkeyPatch.context() as patch:
            context = ray.get_runtime_context()
            patch.setattr(type(context), "get_node_id", lambda self, node=node: node)
            entered.append(counted(key, "a piece"))
            entered[-1].__enter__()
    try:
        with counted(key, "a piece"):
            return "done"
    except InputError as error:
        return str(error)


def test_a_lost_node_is_no_death(local_ray: None) -> None:
    here, lost = ray.get_runtime_context().get_node_id(), "0" * 56
    assert ray.get(started_on.remote([lost] * 9 + [here] * 4, "lost")) == "done"
    assert "a piece was killed 5 times" in ray.get(started_on.remote([lost, *[here] * 5], "lost"))
    assert ray.get(started_on.remote([], "lost")) == "done", "who tries again, with fewer actors, starts from nothing"


def test_tasks_have_names() -> None:
    rows = Rows(np.arange(3, dtype=np.int32), np.zeros(3, np.int32))
    assert str(FitTask(2, rows, rows, np.arange(3), ("a",))) == "fold 2, 3 images"
    (task,) = score_tasks(rows, np.zeros(3, np.int8), np.arange(3))
    assert str(task) == "3 images of shards 0 to 2"


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("work", "actor"),
    [("sample", "a sample actor"), ("extract", "an extraction actor"), ("bank", "the memory bank")],
)
def test_memory_that_is_short_for_everybody_is_told(work: str, actor: str, tmp_path: Path) -> None:
    """Above Ray's threshold its monitor kills every process as it starts."""
    code = f"from tests.cluster.test_attempts import {work}; {work}({str(tmp_path)!r})"
    short = os.environ | {"RAY_memory_usage_threshold": "0.01"}
    done = subprocess.run([sys.executable, "-c", code], env=short, capture_output=True, text=True, timeout=580)
    told = re.search(rf"InputError: cluster: {actor} was killed (\d+) times as it started, most likely", done.stderr)
    assert told and int(told[1]) >= MAX_STARTS, done.stderr  # Ray's table is looked at every few seconds


def sample(root: str) -> None:
    with ray_session(cpus=2, object_store_mb=200) as session, SamplePool(session, root, "f", []) as pool:
        for _ in range(UNNOTICED):
            pool.map(deadly, [1], None)


def extract(root: str) -> None:
    with ray_session(cpus=2, object_store_mb=200) as session:
        data = encoded(blocks(0, 48))
        path = Path(root) / "a.png"
        path.write_bytes(data)
        sha256 = hashlib.sha256(data).hexdigest()
        missing = [Recipe(str(path), sha256)]
        for _ in range(UNNOTICED):
            list(extraction.extract_shards(Store(root), spec(), missing, 2, session))


def bank(root: str) -> None:
    with RayWorkers(cpus=2, object_store_mb=200) as workers:
        workers.use_features(root, "f", [], np.arange(3))
        for number in range(UNNOTICED):
            workers.record_decision(f"{number:024}", Result({"held": np.zeros(3)}))
