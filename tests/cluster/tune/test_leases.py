"""Leases: one computes, the others wait; who dies gives up what he held."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

from swag_ray.cluster.tune.leases import LeasedStore, Leases
from swag_ray.store.stages import Result

pytestmark = pytest.mark.ray
Plain = Leases.__ray_metadata__.modified_class  # the class inside the actor


@pytest.fixture
def leases(local_ray: None) -> Iterator[Any]:
    actor = Leases.remote(3.0)  # type: ignore[attr-defined]
    yield actor
    ray.kill(actor)


def test_one_holder_at_a_time() -> None:
    leases = Plain(dead=60.0)
    assert leases.acquire("s", "a") and leases.acquire("s", "a"), "who holds it may ask again"
    assert not leases.acquire("s", "b") and leases.acquire("t", "b")
    leases.release("s", "b")
    assert not leases.acquire("s", "b"), "only its holder gives a lease back"
    leases.release("s", "a")
    assert leases.acquire("s", "b")


def test_a_lease_dies_with_its_holder_and_beats_keep_it() -> None:
    leases = Plain(dead=0.2)
    assert leases.acquire("s", "a")
    for _ in range(4):
        time.sleep(0.1)
        leases.beat("a", ["s"])
    assert not leases.acquire("s", "b")
    time.sleep(0.3)
    assert leases.acquire("s", "b") and not leases.acquire("s", "a"), "it has passed on for good"
    leases.release("s", "a")
    assert not leases.acquire("s", "c")


def test_a_restarted_actor_learns_from_the_next_beats() -> None:
    leases = Plain(dead=60.0)
    leases.beat("a", ["s"])
    assert not leases.acquire("s", "b")


def test_what_was_kept_is_remembered() -> None:
    leases = Plain(dead=60.0)
    assert leases.acquire("s", "a") and not leases.was_kept("s")
    leases.release("s", "a")
    assert not leases.was_kept("s"), "it broke off"
    leases.release("s", "a", True)
    assert leases.was_kept("s")


class StaleStore(LeasedStore):
    """As on NFS, whose cache goes on saying for a second that the marker is not there."""

    asked: float | None = None

    def load(self, name: str, key: str) -> Result | None:
        self.asked = self.asked or time.monotonic()
        return super().load(name, key) if time.monotonic() - self.asked > 1.0 else None


def test_a_stage_that_its_holder_has_kept_is_looked_for_again(leases: Any, tmp_path: Path) -> None:
    with LeasedStore(str(tmp_path), leases, "first") as first:
        first.stage("fit", "k", lambda: Result({"x": np.arange(3)}))
    with StaleStore(str(tmp_path), leases, "second") as second:
        second.stage("fit", "k", lambda: Result({"x": np.arange(3)}))
        assert second.computed == [], "it was computed twice"
        started = time.monotonic()
        second.stage("fit", "other", lambda: Result({"x": np.arange(3)}))
        assert time.monotonic() - started < 2.0, "what nobody has kept is not waited for"


@ray.remote(num_cpus=0)
class Holder:
    """Computes a stage slowly, in a process of its own."""

    def pid(self) -> int:
        return os.getpid()

    def stage(self, root: str, leases: Any, name: str, seconds: float) -> int:
        """How often this process computed it: 0 or 1."""

        def compute() -> Result:
            time.sleep(seconds)
            return Result({"x": np.arange(3)})

        with LeasedStore(root, leases, name) as store:
            found = store.stage("fit", "k", compute)
            assert found.arrays["x"].tolist() == [0, 1, 2]
            return len(store.computed)


def test_of_several_that_need_a_stage_one_computes_it(leases: Any, tmp_path: Path) -> None:
    holders = [Holder.remote() for _ in range(3)]
    counts = ray.get([h.stage.remote(str(tmp_path), leases, f"h{i}", 1.5) for i, h in enumerate(holders)])
    assert sorted(counts) == [0, 0, 1]


def test_a_killed_holder_is_followed_by_one_that_waits(leases: Any, tmp_path: Path) -> None:
    first, second = Holder.remote(), Holder.remote()
    pid = ray.get(first.pid.remote())
    lost = first.stage.remote(str(tmp_path), leases, "first", 60.0)
    while ray.get(leases.acquire.remote("fit/k", "nobody")):  # the first does not hold it yet
        ray.get(leases.release.remote("fit/k", "nobody"))
        time.sleep(0.05)
    waiting = second.stage.remote(str(tmp_path), leases, "second", 0.1)
    os.kill(pid, signal.SIGKILL)
    assert ray.get(waiting, timeout=30) == 1
    with pytest.raises(ray.exceptions.ActorDiedError):
        ray.get(lost)


def test_killing_the_leases_actor_harms_nobody(leases: Any, tmp_path: Path) -> None:
    holders = [Holder.remote() for _ in range(2)]
    running = [h.stage.remote(str(tmp_path), leases, f"h{i}", 2.0) for i, h in enumerate(holders)]
    time.sleep(1)
    ray.kill(leases, no_restart=False)
    assert 1 <= sum(ray.get(running, timeout=60)) <= 2
