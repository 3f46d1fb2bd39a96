"""The whole loop on actors: the same bits whatever their number and whoever of them is killed on the way."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch

from swag_ray.cluster.workers import RayWorkers, Workers
from swag_ray.experiment.loop import Round, Trajectory, incremental_loop
from swag_ray.store.stages import flat_folds
from tests.support.made_up_experiment import config, made_up_experiment, with_settings

pytestmark = pytest.mark.ray
LOOPS = (config("rounds=2"), config("rounds=2", method="published"))


def pid(reader: Any, task: int) -> int:
    return os.getpid()


def figures(loops: list[Trajectory]) -> Iterator[tuple[str, bytes]]:
    """Every array of every stage, by name, as bytes."""
    for m, loop in enumerate(loops):
        for n, fit in enumerate([*(row.fit for row in loop.rows), loop.last]):
            arrays = {"s": fit.s_N, "u": fit.u_N, "test": fit.s_TK}
            arrays |= flat_folds(fit.folds)
            for part in fit.arms:
                arrays |= flat_folds(part.folds, f"{part.arm.name}.") | {f"weight of {part.arm.name}": part.arm.weight}
            yield from (
                (f"method {m} fit {n} {name} {fit.key}", np.ascontiguousarray(a).tobytes())
                for name, a in arrays.items()
            )
        for row in loop.rows:
            yield from ((f"method {m} decide {row.n} {name}", a.tobytes()) for name, a in row.decision.arrays.items())


def loops(root: Path, workers: Workers | None, on_round: Any = lambda row: None) -> list[Trajectory]:
    experiment, _ = made_up_experiment(root, LOOPS[0], workers=workers, variants=True)
    return [incremental_loop(with_settings(experiment, settings), on_round=on_round) for settings in LOOPS]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    torch.set_num_threads(1)
    return dict(figures(loops(tmp_path_factory.mktemp("here"), None)))


def different(found: list[Trajectory], here: dict[str, bytes]) -> list[str]:
    now = dict(figures(found))
    assert now.keys() == here.keys()
    return [name for name in now if now[name] != here[name]]


def test_one_actor_gives_the_bits_of_this_process(local_ray: None, here: dict[str, bytes], tmp_path: Path) -> None:
    with RayWorkers(actors=1) as workers:
        assert not different(loops(tmp_path, workers), here)


def test_two_actors_that_are_killed_and_a_killed_bank_give_the_same_bits(
    local_ray: None, here: dict[str, bytes], tmp_path: Path
) -> None:
    killed: list[int] = []

    rows: list[Round] = []

    def kill(row: Round) -> None:
        """kill -9: in the first loop of a sample actor, then of the bank; in the second of both at once."""
        rows.append(row)
        sampler, other = workers._pool.actors
        victims = {1: [sampler], 2: [workers._bank], 5: [other, workers._bank]}.get(len(rows), [])
        for actor in victims:
            killed.append(ray.get(actor.__ray_call__.remote(lambda self: os.getpid()), timeout=60))
            os.kill(killed[-1], signal.SIGKILL)

    with RayWorkers(actors=2) as workers:
        assert not different(loops(tmp_path, workers, kill), here)
        assert len(set(killed)) == 4 and len(rows) == 6
        alive = workers.map(pid, range(8))
        assert len(set(alive)) == 2 and not set(alive) & set(killed)


def test_nothing_is_started_before_it_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop whose stages are all in the store starts neither Ray nor an actor."""
    loops(tmp_path, None)

    def refuse(**options: Any) -> None:
        raise AssertionError("no Ray is needed")

    monkeypatch.setattr("swag_ray.cluster.workers.ray_session", refuse)
    with RayWorkers() as workers:
        loops(tmp_path, workers)
