"""Who is told what a sweep's trials report: this process, and the loggers that the config names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ray import tune

from swag_ray.config.sweep import SweepConfig
from swag_ray.errors import InputError
from swag_ray.masking import masked

MAX_TRIES = 6  # of a trial whose process or node dies; what it had computed is in the store
DIED = "its process died, most likely for want of memory or because its node was lost"
Report = dict[str, Any]


def loggers(sweep: SweepConfig) -> Iterator[Any]:
    """The callbacks that the config names; each needs its own package.

    Raises:
        InputError: it is not installed, or does not know these arguments.
    """
    for name, arguments in sweep.loggers.items():
        try:
            if name == "mlflow":
                from ray.air.integrations.mlflow import MLflowLoggerCallback

                yield MLflowLoggerCallback(**arguments)
            else:
                from ray.air.integrations.wandb import WandbLoggerCallback

                yield WandbLoggerCallback(**arguments)
        except (ImportError, RuntimeError) as error:
            raise InputError(f"loggers.{name}: `pip install {name}` first ({error})") from error
        except TypeError as error:
            raise InputError(f"loggers.{name}: {error}") from error


@dataclass
class Told:
    """What a `ReportCallback` tells its own process.

    Attributes:
        on_report: called with every report.
        refused: what `on_report` raised; Tune would pass it on as a stack's text.
        given_up: the configs of trials that Tune gave up with tries left.
    """

    on_report: Callable[[Report], None]
    refused: InputError | None = None
    given_up: list[dict[str, Any]] = field(default_factory=list)


_told: dict[int, Told] = {}  # of this process


class ReportCallback(tune.Callback):
    """Passes every report on, and the end of a trial that could not report it. Tune pickles it: it holds a number only.

    A process that dies when it is given its next trial is two failures to Tune, the actor's and the task's. By the
    first the trial waits for another process, by the second it is given up because it waits, whatever tries are left
    (`TuneController._actor_failed` and `_process_trial_failure`, Ray 2.60).

    Args:
        anonymous: what Ray says of a trial, which may name files, is not passed on.
        last: no pass follows, so a trial that is given up has failed.
    """

    def __init__(self, told: Told, *, anonymous: bool = False, last: bool = False) -> None:
        self._anonymous, self._no_pass_follows = anonymous, last
        self._number = id(told)
        self._last: dict[str, Report] = {}
        _told[self._number] = told

    def end(self) -> None:
        """Forget whom it tells."""
        _told.pop(self._number, None)

    def _tell(self, report: Report) -> None:
        told = _told[self._number]
        try:
            told.on_report(report)
        except InputError as error:
            told.refused = error
            raise

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: Report, **info: Any) -> None:
        self._last[trial.trial_id] = result
        self._tell(result)

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        last = self._last.get(trial.trial_id, {})
        if last.get("status") == "running":  # the scheduler ended it
            self._tell(last | {"status": "stopped"})

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        if trial.run_metadata.num_failures < MAX_TRIES and not self._no_pass_follows:
            _told[self._number].given_up.append(dict(trial.config))
            return
        last = self._last.get(trial.trial_id) or dict(trial.config)
        reason = (str(trial.get_error() or "").strip().splitlines() or [DIED])[-1]
        if self._anonymous:
            reason = DIED
        self._tell(last | {"status": "failed", "error": masked(f"{reason} ({MAX_TRIES} tries)")})
