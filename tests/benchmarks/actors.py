"""Scoring with two sample actors against one: how much faster, and the same figures."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from swag_ray.cluster.sample_actors import SamplePool
from swag_ray.cluster.session import Session, ray_session
from swag_ray.methods.bank_fit import bank_fit
from swag_ray.methods.settings import bank_settings
from swag_ray.models.fold_bank import score_bank
from swag_ray.models.tasks import ALL_FOLDS, ScoreTask, score_tasks
from tests.benchmarks.material import described, identical, laboratory, start_actors
from tests.benchmarks.measure import Bench, Goal, Row, Skip

TASKS = 48  # fewer images are scored several times over: with few tasks the last one decides


def measure(bench: Bench) -> list[Row]:
    if bench.cores < 2:
        raise Skip("one core cannot show what two actors gain")
    with ray_session(cpus=bench.cores + 1), laboratory(bench, "contrast", actors=2) as (experiment, _):
        fit = bank_fit(experiment, experiment.cohort.seeds)
        shared = experiment.workers.put(tuple(fit.folds)), bank_settings(experiment.config), fit.key
        tasks = _tasks(experiment.cohort, TASKS)
        images = sum(len(task.rows) for task in tasks)
        where = experiment.workers._features
        experiment.workers._stack.close()  # its actors hold the cores
        with SamplePool(Session(1, 0, 1), *where) as one, SamplePool(Session(2, 0, 2), *where) as two:
            pools = {"one": one, "two": two}
            rate: dict[str, list[float]] = {"one": [], "two": []}
            for count, pool in enumerate(pools.values(), 1):
                start_actors(pool, count)
            results = [pool.map(score_bank, tasks, *shared) for pool in pools.values()]  # also warms up
            for _ in range(3 if bench.quick else 5):
                for name, pool in pools.items():
                    start = time.perf_counter()
                    results.append(pool.map(score_bank, tasks, *shared))
                    rate[name].append(images / (time.perf_counter() - start))
    same = "results equal" if identical(results) else "RESULTS DIFFER"
    return [
        Row("actors", "scoring by patch distance, two actors", rate["two"], rate["one"], unit="images/s", kind="rate",
            against="one actor", goal=Goal(1.8, at_least=True),
            note=f"{len(tasks)} tasks over {described(bench)}; {same}")
    ]  # fmt: skip


def _tasks(cohort: Any, least: int) -> list[ScoreTask]:
    own = score_tasks(cohort.rows_N, cohort.fold_N, np.arange(len(cohort.id_N)))
    everyone = np.full(len(cohort.id_T), ALL_FOLDS, np.int8)
    own += score_tasks(cohort.rows_T, everyone, np.arange(len(cohort.id_T)))
    return own * -(-least // len(own))
