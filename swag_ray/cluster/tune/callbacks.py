"""Who is told what a sweep's trials report: this process, and the loggers that the config names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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


_listeners: dict[int, Callable[[Report], None]] = {}  # of this process
_refusals: dict[int, InputError] = {}  # what a listener refused; Tune would pass it on as a stack's text


class ReportCallback(tune.Callback):
    """Passes every report on, and the end of a trial that could not report it. Tune pickles it: it holds no
    listener.
    """

    def __init__(self, on_report: Callable[[Report], None], *, anonymous: bool = False) -> None:
        self._anonymous = anonymous  # then what Ray says of a trial, which may name files, is not passed on
        self._listener = id(self)
        self._last: dict[str, Report] = {}
        _listeners[self._listener] = on_report

    def end(self) -> InputError | None:
        """Forget the listener; what it refused."""
        _listeners.pop(self._listener, None)
        return _refusals.pop(self._listener, None)

    def _tell(self, report: Report) -> None:
        try:
            _listeners[self._listener](report)
        except InputError as error:
            _refusals[self._listener] = error
            raise

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: Report, **info: Any) -> None:
        self._last[trial.trial_id] = result
        self._tell(result)

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        last = self._last.get(trial.trial_id, {})
        if last.get("status") == "running":  # the scheduler ended it
            self._tell(last | {"status": "stopped"})

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        last = self._last.get(trial.trial_id) or dict(trial.config)
        reason = (str(trial.get_error() or "").strip().splitlines() or [DIED])[-1]
        if self._anonymous:
            reason = DIED
        self._tell(last | {"status": "failed", "error": masked(f"{reason} ({MAX_TRIES} tries)")})
