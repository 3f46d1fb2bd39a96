"""The memory bank actor: one writer that refuses strangers, and that a restart costs nothing."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

from swag_ray.cluster.memory_bank import MemoryBank
from swag_ray.cluster.session import constructor_argument
from swag_ray.store.stages import Arrays, Result
from swag_ray.store.store import Store

pytestmark = pytest.mark.ray
SEEDS = np.array([0, 2, 4])
VERSION = "a" * 24


def decision(*held: int) -> Result:
    return Result({"held": np.isin(np.arange(8), held)}, {"exhausted": False})


def fold(*images: int) -> Arrays:
    return {"image": np.array(images), "raw.8": np.arange(len(images), dtype=np.float16)}


def get(reference: Any) -> Any:
    return ray.get(reference, timeout=60)


@pytest.fixture
def bank(local_ray: None, tmp_path: Path) -> Any:
    actor = MemoryBank.remote(str(tmp_path), SEEDS)
    yield actor
    ray.kill(actor)


def end(actor: Any) -> None:
    """kill -9 of the actor's process, and wait until Ray has another."""
    pid = get(actor.__ray_call__.remote(lambda self: os.getpid()))
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if get(actor.__ray_call__.remote(lambda self: os.getpid())) != pid:
                return
        except ray.exceptions.RayActorError:
            time.sleep(0.1)
    raise AssertionError("the bank did not come back")


def test_seeds_need_no_decision_and_strangers_are_refused(bank: Any, tmp_path: Path) -> None:
    published = get(bank.save_version.remote(VERSION, None, fold(0, 2), fold(4)))
    assert published.keys() == {"fold0.image", "fold0.raw.8", "fold1.image", "fold1.raw.8"}
    get(bank.record_decision.remote("d" * 24, decision(1, 5)))
    get(bank.save_version.remote("b" * 24, "d" * 24, fold(0, 1), fold(2, 5)))
    with pytest.raises(ray.exceptions.RayTaskError, match="fold 1: 1 images in the bank were never admitted"):
        get(bank.save_version.remote("c" * 24, "d" * 24, fold(0, 1), fold(2, 3)))
    with pytest.raises(ray.exceptions.RayTaskError, match="never recorded"):
        get(bank.save_version.remote("c" * 24, "e" * 24, fold(0)))
    assert not Store(tmp_path).has("bank", "c" * 24), "what is refused is not kept"


def test_an_evicted_image_is_a_stranger_again(bank: Any) -> None:
    get(bank.record_decision.remote("d" * 24, decision(1, 5)))
    get(bank.record_decision.remote("e" * 24, decision(5)))
    get(bank.save_version.remote("b" * 24, "d" * 24, fold(1)))
    with pytest.raises(ray.exceptions.RayTaskError, match="never admitted"):
        get(bank.save_version.remote("c" * 24, "e" * 24, fold(1)))


def test_admitting_twice_changes_nothing(bank: Any, tmp_path: Path) -> None:
    get(bank.record_decision.remote("d" * 24, decision(1)))
    files = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in (tmp_path / "stages").rglob("*") if p.is_file()}
    get(bank.record_decision.remote("d" * 24, decision(1)))
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in files} == files
    assert not any((tmp_path / "tmp").iterdir())


def test_a_killed_bank_forgets_nothing(bank: Any, tmp_path: Path) -> None:
    get(bank.record_decision.remote("d" * 24, decision(1)))
    before = get(bank.save_version.remote(VERSION, "d" * 24, fold(0, 1)))
    end(bank)
    assert np.array_equal(before["fold0.image"], [0, 1]), "a snapshot outlives the actor that made it"
    kept = Store(tmp_path).load("bank", VERSION)
    assert kept is not None
    after = kept.arrays
    assert after.keys() == before.keys() and all(np.array_equal(after[name], before[name]) for name in before)
    get(bank.save_version.remote("b" * 24, "d" * 24, fold(1)))
    with pytest.raises(ray.exceptions.RayTaskError, match="never admitted"):
        get(bank.save_version.remote("c" * 24, "d" * 24, fold(3)))


def test_a_bank_with_many_seeds_comes_back_too(local_ray: None, tmp_path: Path) -> None:
    """Large constructor arguments are in the object store; a restart needs them again."""
    many = constructor_argument(np.arange(40_000), 40_000)
    assert isinstance(many, ray.ObjectRef) and not isinstance(constructor_argument(SEEDS, 3), ray.ObjectRef)
    actor = MemoryBank.remote(str(tmp_path), many)
    try:
        get(actor.save_version.remote(VERSION, None, fold(1)))
        end(actor)
        get(actor.record_decision.remote("d" * 24, decision()))
        get(actor.save_version.remote("b" * 24, "d" * 24, fold(39_999)))
    finally:
        ray.kill(actor)
