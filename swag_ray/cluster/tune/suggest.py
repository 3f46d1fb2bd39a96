"""Which trials a sweep runs: those of a list, or of points that Optuna suggests through Ray Tune, every point on all
datasets and seeds.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from ray.tune.search import Searcher

from swag_ray.config.search import Distribution
from swag_ray.config.sweep import Point, SweepConfig
from swag_ray.errors import InputError

Report = dict[str, Any]


def as_job(number: int, dataset: str | None, random_seed: int, point: Point) -> dict[str, Any]:
    """What Ray Tune gives a trial's process to know which trial it is."""
    return {"trial": number, "dataset": dataset, "random_seed": random_seed, **point}


class FixedTrials(Searcher):
    """Suggests the given trials, one after the other.

    Args:
        jobs: as `as_job` has them.
    """

    def __init__(self, jobs: Sequence[dict[str, Any]]) -> None:
        super().__init__()
        self.count = len(jobs)
        self._left = list(jobs[::-1])

    def suggest(self, trial_id: str) -> Any:
        if not self._left:
            return str(Searcher.FINISHED)
        return self._left.pop()

    def on_trial_complete(self, trial_id: str, result: Report | None = None, error: bool = False) -> None:
        """Nothing to learn."""

    def save(self, checkpoint_path: str) -> None:
        """A sweep is resumed from its own directory."""

    def restore(self, checkpoint_path: str) -> None:
        """As `save`."""


class OptunaPoints(Searcher):
    """Suggests a point's trials together, and tells Optuna the mean of their metric when the last is through.

    A trial's number says its point and repetition: of R repetitions, point p runs as the trials p R to p R + R - 1. So
    a sweep that goes on first runs what is missing of the points it had, and trials that failed once more.

    Args:
        sweep: space, metric, number of points, repetitions.
        history: final reports of trials that ran before.
    """

    def __init__(self, sweep: SweepConfig, history: list[Report]) -> None:
        super().__init__(metric=sweep.metric, mode=sweep.mode)
        self.sweep, self.repetitions = sweep, sweep.repetitions()
        each = len(self.repetitions)
        self.points: dict[int, Point] = {}
        self.values: dict[int, dict[int, float | None]] = {}  # point -> repetition -> metric
        for report in history:
            p, repetition = divmod(int(report["trial"]), each)
            self.points[p] = json.loads(report["point"])
            held = self.values.setdefault(p, {})
            if report["status"] != "failed":
                held[repetition] = report.get(sweep.metric)
        # By how far it is: with the first seed again, the first draws would be those that are there already.
        self.optuna = _optuna(sweep, (sweep.random_seed + len(self.points)) % 2**32)
        self.first = self.next = max(self.points, default=-1) + 1  # point that is not of the history
        for p in sorted(self.points):
            self._tell(p)
        self.waiting = [(p, r) for p in sorted(self.points) for r in range(each) if r not in self.values[p]]
        self.count = max(len(self.waiting) + each * max((sweep.points or 0) - self.next, 0), 1)
        self.asked: dict[str, tuple[int, int]] = {}  # Tune's name of a trial -> point, repetition

    def suggest(self, trial_id: str) -> Any:
        if not self.waiting:
            if self.next >= (self.sweep.points or 0):
                return str(Searcher.FINISHED)
            point = self.optuna.suggest(str(self.next))
            if point is None:
                return None
            self.points[self.next], self.values[self.next] = point, {}
            self.waiting = [(self.next, r) for r in range(len(self.repetitions))]
            self.next += 1
        p, repetition = self.asked[trial_id] = self.waiting.pop(0)
        dataset, random_seed = self.repetitions[repetition]
        return as_job(p * len(self.repetitions) + repetition, dataset, random_seed, self.points[p])

    def on_trial_complete(self, trial_id: str, result: Report | None = None, error: bool = False) -> None:
        if trial_id in self.asked:
            p, repetition = self.asked.pop(trial_id)
            self.values[p][repetition] = (result or {}).get(self.sweep.metric)
            self._tell(p)

    def _tell(self, p: int) -> None:
        """Tell Optuna of a point, if all its repetitions are through."""
        values = self.values[p].values()
        if len(values) < len(self.repetitions):
            return
        found = [value for value in values if value is not None]
        whole = len(found) == len(values)
        if p >= self.first:
            self.optuna.on_trial_complete(str(p), {self.sweep.metric: fmean(found)} if whole else None, error=not whole)
        elif whole:
            self.optuna.add_evaluated_point(self.points[p], fmean(found))

    def save(self, checkpoint_path: str) -> None:
        """A sweep is resumed from its own directory."""

    def restore(self, checkpoint_path: str) -> None:
        """As `save`."""


def _optuna(sweep: SweepConfig, seed: int) -> Any:
    try:
        import optuna
        from ray.tune.search.optuna import OptunaSearch
    except ImportError as error:
        raise InputError("algorithm: optuna needs its package", "`pip install optuna`") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space = {field: _optuna_distribution(optuna, values) for field, values in sweep.space().items()}
    return OptunaSearch(space=space, metric=sweep.metric, mode=sweep.mode, seed=seed)


def _optuna_distribution(optuna: Any, values: Distribution) -> Any:
    match values.kind:
        case "choice":
            return optuna.distributions.CategoricalDistribution(values.choices)
        case "randint":
            return optuna.distributions.IntDistribution(int(values.low), int(values.high))
        case _:
            return optuna.distributions.FloatDistribution(values.low, values.high, log=values.kind == "loguniform")
