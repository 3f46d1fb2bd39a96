"""Early stopping of a sweep's trials: asynchronous successive halving (Li et al. 2020), by Ray Tune."""

from __future__ import annotations

from typing import Any

from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler

from swag_ray.config.sweep import SweepConfig


def scheduler(sweep: SweepConfig) -> Any:
    """What ends trials early; None where every trial runs to its end."""
    stopping = sweep.early_stopping
    if stopping is None:
        return None

    def halving() -> Any:
        return AsyncHyperBandScheduler(
            time_attr="training_iteration", metric=sweep.metric, mode=sweep.mode, max_t=10**6,
            grace_period=stopping.grace_rounds + 1, reduction_factor=stopping.reduction_factor,  # row 0 comes first
        )  # fmt: skip

    return HalvingPerDataset({dataset: halving() for dataset, _ in sweep.repetitions()})


class HalvingPerDataset(FIFOScheduler):
    """Early stopping within each dataset: figures of two datasets say nothing of one another's arms."""

    def __init__(self, schedulers: dict[str, Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._schedulers = schedulers

    def _of(self, trial: Any) -> Any:
        return self._schedulers[trial.config["dataset"]]

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        self._of(trial).on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        return str(self._of(trial).on_trial_result(tune_controller, trial, result))

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        self._of(trial).on_trial_complete(tune_controller, trial, result)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        self._of(trial).on_trial_error(tune_controller, trial)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        self._of(trial).on_trial_remove(tune_controller, trial)
