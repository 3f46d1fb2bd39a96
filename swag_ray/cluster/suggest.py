"""Model-based search: Optuna suggests points through Ray Tune, every point runs on all datasets and seeds."""

from __future__ import annotations

import json
from statistics import fmean
from typing import Any

from ray.tune.search import Searcher

from swag_ray.errors import InputError
from swag_ray.search import Distribution
from swag_ray.sweep_config import Point, SweepConfig

Report = dict[str, Any]


class Suggested(Searcher):
    """Suggests a point's trials together, and tells Optuna the mean of their metric when the last is through.

    Args:
        sweep: space, metric, number of points, repetitions.
        history: final reports of trials that ran before.
    """

    def __init__(self, sweep: SweepConfig, history: list[Report]) -> None:
        super().__init__(metric=sweep.metric, mode=sweep.mode)
        self.sweep, self.repetitions = sweep, sweep.repetitions()
        self.count = -1
        self.optuna = _optuna(sweep)
        known = _means(sweep, history)
        for point, value in known:
            self.optuna.add_evaluated_point(point, value)
        self.points_left = max((sweep.points or 0) - len(known), 0)
        self.number = max((int(report["trial"]) for report in history), default=-1) + 1
        self.count = max(self.points_left * len(self.repetitions), 1)
        self.waiting: list[tuple[str, Point, str, int]] = []
        self.asked: dict[str, str] = {}  # trial -> point
        self.values: dict[str, list[float | None]] = {}

    def suggest(self, trial_id: str) -> Any:
        if not self.waiting:
            if not self.points_left:
                return str(Searcher.FINISHED)
            point = self.optuna.suggest(trial_id)
            if point is None:
                return None
            self.points_left -= 1
            self.values[trial_id] = []
            self.waiting = [(trial_id, point, *repetition) for repetition in self.repetitions]
        name, point, dataset, random_seed = self.waiting.pop(0)
        self.asked[trial_id] = name
        self.number += 1
        return {"trial": self.number - 1, "dataset": dataset, "random_seed": random_seed, **point}

    def on_trial_complete(self, trial_id: str, result: Report | None = None, error: bool = False) -> None:
        name = self.asked.pop(trial_id, None)
        if name is None:
            return
        values = self.values[name]
        values.append((result or {}).get(self.sweep.metric))
        if len(values) == len(self.repetitions):
            found = [value for value in values if value is not None]
            whole = len(found) == len(values)
            self.optuna.on_trial_complete(name, {self.sweep.metric: fmean(found)} if whole else None, error=not whole)

    def save(self, checkpoint_path: str) -> None:
        """A sweep is resumed from its own directory."""

    def restore(self, checkpoint_path: str) -> None:
        """As `save`."""


def _optuna(sweep: SweepConfig) -> Any:
    try:
        import optuna
        from ray.tune.search.optuna import OptunaSearch
    except ImportError as error:
        raise InputError("algorithm: optuna needs its package; `pip install optuna`") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space = {field: _optuna_distribution(optuna, values) for field, values in sweep.space().items()}
    return OptunaSearch(space=space, metric=sweep.metric, mode=sweep.mode, seed=sweep.random_seed)


def _optuna_distribution(optuna: Any, values: Distribution) -> Any:
    match values.kind:
        case "choice":
            return optuna.distributions.CategoricalDistribution(values.choices)
        case "randint":
            return optuna.distributions.IntDistribution(int(values.low), int(values.high))
        case _:
            return optuna.distributions.FloatDistribution(values.low, values.high, log=values.kind == "loguniform")


def _means(sweep: SweepConfig, history: list[Report]) -> list[tuple[Point, float]]:
    """Points whose every repetition is through, with the mean of their metric."""
    found: dict[str, list[float]] = {}
    for report in history:
        if report.get(sweep.metric) is not None:
            found.setdefault(report["point"], []).append(float(report[sweep.metric]))
    whole = len(sweep.repetitions())
    return [(json.loads(point), fmean(values)) for point, values in found.items() if len(values) == whole]
