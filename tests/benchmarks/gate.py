"""The gates of `published`: u for the survivors of the first gate, against u for every pool image. Same decisions.

The mean pass, which gives the first gate its scores, is counted on both sides. Banks have to be embedded anew for every
sample; that, and the seeds' own u, is shown apart.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swag_ray.core import calibrate, gate
from swag_ray.core.seeding import numpy_generator
from swag_ray.methods.fit import Experiment, Fit, TrainingSet
from swag_ray.methods.folds import score_train
from swag_ray.methods.published_fit import pool_uncertainty, published_fit, published_scorer
from swag_ray.models import fold_adapter as published
from tests.benchmarks.material import config, described, in_process, laboratory, record_nobody
from tests.benchmarks.measure import Bench, Goal, Row
from tests.benchmarks.naive import brute_force_gate
from tests.support.pool_state import initial_state

CONTAMINATION = 0.8


@dataclass
class Pass:
    """One pass over images: seconds in all, and of these embedding banks."""

    seconds: float
    banks: float
    value: Any


def measure(bench: Bench) -> list[Row]:
    settings = config(bench, "published")
    with laboratory(bench, "published") as (experiment, _):
        nobody = np.array([], dtype=np.int64)
        fit = published_fit(experiment, 1, TrainingSet(record_nobody(experiment), nobody, nobody), None)
    experiment, audit = in_process(bench, "published")
    pool = _contaminated(experiment, audit.label_N)
    ours: dict[str, list[float]] = {"without": [], "with": []}
    brute: dict[str, list[float]] = {"without": [], "with": []}
    seeds, same, passed, embedding = [], True, 0.0, []
    for _ in range(bench.repetitions(2)):
        mean = _timed(experiment, lambda: _mean_pass(experiment, fit, pool))
        two = _timed(experiment, lambda: _two_stage(experiment, fit, pool))
        every = _timed(experiment, lambda: _brute_force(experiment, fit, pool))
        for side, found in ((ours, two), (brute, every)):
            side["with"].append(mean.seconds + found.seconds)
            side["without"].append(mean.seconds - mean.banks + found.seconds - found.banks)
        seeds.append(_timed(experiment, lambda: _seed_pass(experiment, fit)).seconds)
        embedding.append(two.banks)
        same = same and all(np.array_equal(a, b) for a, b in zip(two.value, every.value, strict=True))
        passed = float(two.value[0].mean())
    limit = (1 + settings.swag.samples) / (1 + settings.swag.samples * passed)
    what = f"{len(pool):,} pool images of {described(bench)}, {passed:.0%} pass gate one (limit {limit:.2f} x); " + (
        "identical decisions" if same else "DECISIONS DIFFER"
    )
    against = "u for every pool image"
    goal = None if bench.quick else Goal(2.8, at_least=True)
    return [
        Row("gate", "two-stage, banks' embedding apart", ours["without"], brute["without"], kind="speed-up",
            against=against, goal=goal, note=what),
        Row("gate", "two-stage, all counted", ours["with"], brute["with"], kind="speed-up", against=against),
        Row("gate", "of it embedding the banks under every sample", embedding),
        Row("gate", "apart: u of the seeds, which calibrates", seeds),
    ]  # fmt: skip


def _contaminated(experiment: Experiment, label_N: NDArray[np.float64]) -> NDArray[np.int64]:
    """Pool images of which 80 % are anomalies, or as many as there are."""
    pool = experiment.cohort.pool
    normal, anomaly = pool[label_N[pool] == 0], pool[label_N[pool] == 1]
    wanted = round(len(anomaly) * (1 - CONTAMINATION) / CONTAMINATION)
    return np.sort(np.concatenate([normal[: max(wanted, 1)], anomaly]))


def _mean_pass(experiment: Experiment, fit: Fit, pool: NDArray[np.int64]) -> NDArray[np.float64]:
    scorer = published_scorer(experiment.config, fit.key, [published.MEAN])
    return score_train(experiment, scorer, tuple(fit.folds), pool)[:, 0]


def _two_stage(experiment: Experiment, fit: Fit, pool: NDArray[np.int64]) -> tuple[NDArray[Any], ...]:
    g = experiment.config.gate

    def uncertainty(mask_N: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[Any]]:
        u_N = pool_uncertainty(experiment, fit, pool[mask_N])
        return u_N[pool], fit.z_u(u_N)[pool]

    chosen = gate.decide(
        fit.s_N[pool], fit.z_N[pool], np.zeros(len(pool), dtype=np.bool_), initial_state(len(pool)),
        gate.GateSettings(g.tau_distance, g.tau_uncertainty, g.tau_relaxed, g.budget, "safe", 1), uncertainty,
        numpy_generator(0, "benchmark"),
    )  # fmt: skip
    return chosen.passed_distance_N, chosen.passed_both_N, chosen.admitted_N


def _brute_force(experiment: Experiment, fit: Fit, pool: NDArray[np.int64]) -> tuple[NDArray[Any], ...]:
    g, seeds = experiment.config.gate, experiment.cohort.seeds
    u_N = pool_uncertainty(experiment, fit, pool)
    z_u = calibrate.z_score(calibrate.log_uncertainty(fit.u_N[seeds]), calibrate.log_uncertainty(u_N[pool]))
    chosen = brute_force_gate(
        fit.z_N[pool], z_u, tau_distance=g.tau_distance, tau_uncertainty=g.tau_uncertainty,
        tau_relaxed=g.tau_relaxed, budget=g.budget,
    )  # fmt: skip
    return tuple(np.isin(np.arange(len(pool)), list(rows)) for rows in chosen)


def _seed_pass(experiment: Experiment, fit: Fit) -> None:
    scorer = published_scorer(experiment.config, fit.key, range(experiment.config.swag.samples))
    score_train(experiment, scorer, tuple(fit.folds), experiment.cohort.seeds)


def _timed(experiment: Experiment, work: Any) -> Pass:
    experiment.workers.reader._memo.clear()  # type: ignore[attr-defined]  # every side embeds the banks itself
    with _banks() as spent:
        start = time.perf_counter()
        value = work()
        return Pass(time.perf_counter() - start, sum(spent), value)


@contextmanager
def _banks() -> Iterator[list[float]]:
    """Notes the seconds that go into embedding and indexing banks."""
    spent: list[float] = []
    bank_index = published.bank_index

    def timed(*arguments: Any) -> Any:
        start = time.perf_counter()
        value = bank_index(*arguments)
        spent.append(time.perf_counter() - start)
        return value

    published.bank_index = timed  # type: ignore[assignment]
    try:
        yield spent
    finally:
        published.bank_index = bank_index  # type: ignore[assignment]
