"""Runs one experiment from image list to metrics. Used by a run and by each trial of a sweep."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TypeVar

from swag_ray.cluster.workers import Workers
from swag_ray.core.calibrate import DegenerateScores
from swag_ray.errors import InputError
from swag_ray.experiment.controls import run_controls
from swag_ray.experiment.loop import Round, Trajectory, incremental_loop
from swag_ray.experiment.prepare import Prepared, feature_reader, prepare
from swag_ray.experiment.source import ImageSource
from swag_ray.features.shards import DamagedShard
from swag_ray.methods.fit import Fit
from swag_ray.methods.method import method_of
from swag_ray.progress import Progress
from swag_ray.record.run_metrics import RoundMetrics, RunMetrics

T = TypeVar("T")
OnRound = Callable[[RoundMetrics], None]  # called with the metrics of every row of the loop as soon as it is there


@dataclass(frozen=True)
class ExperimentResult:
    """A finished experiment.

    Attributes:
        prepared, trajectory, controls: what was done.
        final_bank: the plain bank over seeds and admitted images: heatmaps, and the arm `bank`.
        metrics: what metrics.json holds, timing aside.
    """

    prepared: Prepared
    trajectory: Trajectory
    controls: dict[str, Fit]
    final_bank: Fit
    metrics: RunMetrics


def run_pipeline(
    source: ImageSource, workers: Workers, progress: Progress, on_round: OnRound = lambda metrics: None
) -> ExperimentResult:
    """Computes features, loop, controls and metrics; what is in the store is not computed again.

    Raises:
        InputError: what only the work itself shows to be wrong with data or store.
        DamagedShard: a feature shard cannot be read; see `with_shards_repaired`.
    """
    prepared = prepare(source, workers, progress)
    experiment, audit = prepared.experiment, prepared.audit
    for warning in prepared.warnings:
        progress.warning(warning)
    # scikit-learn takes a second to import, which Ray needs to start anyway.
    threading.Thread(target=import_module, args=["swag_ray.experiment.evaluate"], daemon=True).start()
    seconds: list[float] = []
    before = progress.seconds.get("fits", 0.0)

    def timed(row: Round) -> None:
        from swag_ray.experiment.evaluate import round_metrics

        seconds.append(progress.seconds["fits"] - before - sum(seconds))
        on_round(round_metrics(experiment, audit, row))

    try:
        trajectory = incremental_loop(experiment, on_round=timed)
        controls = run_controls(experiment, audit, trajectory)
        with progress.phase("evaluate", "evaluating"):
            from swag_ray.experiment.evaluate import evaluate

            training = trajectory.decision.training
            final_bank = method_of(experiment).final_bank(experiment, training, trajectory.last)
            metrics = evaluate(experiment, audit, trajectory, controls, final_bank, feature_reader(prepared))
    except DegenerateScores as error:
        reason = f"dataset: the trusted seeds cannot calibrate anything ({error})"
        raise InputError(reason, "are they blank, or all one image?") from error
    for row, spent in zip(metrics.rounds, seconds, strict=True):
        row.seconds = spent
    metrics.warnings = [*prepared.warnings, *_fit_warnings(trajectory)]
    metrics.dataset = prepared.facts
    return ExperimentResult(prepared, trajectory, controls, final_bank, metrics)


def with_shards_repaired(source: ImageSource, progress: Progress, attempt: Callable[[], T]) -> T:
    """Returns what `attempt` gives; a feature shard that it finds damaged is removed, and it is made once more.

    Raises:
        DamagedShard: the same shard is damaged again.
    """
    damaged: set[str] = set()
    while True:
        try:
            return attempt()
        except DamagedShard as error:
            if error.path in damaged:
                raise
            damaged.add(error.path)
            error.remove(source.store)
            progress.warning(f"'{error.path}' is damaged ({error.reason}); its images are extracted again")


def _fit_warnings(trajectory: Trajectory) -> list[str]:
    """Returns what the fits warn of, each reason once with the fits it holds for."""
    fits: dict[str, list[int]] = {}
    for n, fit in enumerate([*(row.fit for row in trajectory.rows), trajectory.last]):
        if fit.reason:
            fits.setdefault(fit.reason, []).append(n)
    return [f"{reason} (fit {', '.join(map(str, numbers))})" for reason, numbers in fits.items()]
