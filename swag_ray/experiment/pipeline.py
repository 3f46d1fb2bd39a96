"""What an experiment comes to: the work that a run writes into its directory and a sweep's trial reports."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from swag_ray.cluster.workers import Workers
from swag_ray.core.calibrate import DegenerateScores
from swag_ray.errors import InputError
from swag_ray.experiment.controls import run_controls
from swag_ray.experiment.loop import Row, Trajectory, incremental_loop
from swag_ray.experiment.prepare import Prepared, feature_reader, prepare
from swag_ray.experiment.source import Source
from swag_ray.features.shards import DamagedShard
from swag_ray.methods.bank_fit import patch_bank_fit
from swag_ray.methods.fit import Fit
from swag_ray.progress import Progress


@dataclass(frozen=True)
class Outcome:
    """A finished experiment.

    Attributes:
        prepared, trajectory, controls: what was done.
        grown: the plain bank over seeds and admitted images: heatmaps, and the arm `bank`.
        metrics: what metrics.json holds, timing aside.
    """

    prepared: Prepared
    trajectory: Trajectory
    controls: dict[str, Fit]
    grown: Fit
    metrics: dict[str, Any]


def carry_out(
    source: Source,
    workers: Callable[[], Workers],
    progress: Progress,
    on_round: Callable[[dict[str, Any]], None] = lambda figures: None,
    finish: Callable[[Outcome, Workers], None] = lambda outcome, workers: None,
) -> Outcome:
    """Everything from the listing to the figures; what is in the store is not computed again.

    A damaged feature shard is removed and its images are extracted again, once.

    Args:
        workers: makes what the work is done on; used as a context manager.
        on_round: told the figures of every row of the loop as soon as it is there.
        finish: done with the result while the workers are still there.

    Raises:
        InputError: what only the work itself shows to be wrong with data or store.
    """
    damaged: set[str] = set()
    while True:
        try:
            with workers() as lent:
                outcome = _carry_out(source, lent, progress, on_round)
                finish(outcome, lent)
                return outcome
        except DegenerateScores as error:
            reason = f"dataset: the trusted seeds cannot calibrate anything ({error}); are they all one image?"
            raise InputError(reason) from error
        except DamagedShard as error:
            if error.path in damaged:
                raise
            damaged.add(error.path)
            error.remove(source.store)
            progress.warning(f"'{error.path}' is damaged ({error.reason}); its images are extracted again")


def _carry_out(
    source: Source, workers: Workers, progress: Progress, on_round: Callable[[dict[str, Any]], None]
) -> Outcome:
    prepared = prepare(source, workers, progress)
    lab, audit = prepared.lab, prepared.audit
    for warning in prepared.warnings:
        progress.warning(warning)
    # scikit-learn takes a second to import, which Ray needs to start anyway.
    threading.Thread(target=import_module, args=["swag_ray.experiment.evaluate"], daemon=True).start()
    seconds: list[float] = []
    before = progress.seconds.get("fits", 0.0)

    def timed(row: Row) -> None:
        from swag_ray.experiment.evaluate import round_figures

        seconds.append(progress.seconds["fits"] - before - sum(seconds))
        on_round(round_figures(lab, audit, row))

    trajectory = incremental_loop(lab, on_row=timed)
    controls = run_controls(lab, audit, trajectory)
    with progress.phase("evaluate", "evaluating"):
        from swag_ray.experiment.evaluate import evaluate

        grown = _grown_bank(prepared, trajectory)
        metrics = evaluate(lab, audit, trajectory, controls, grown, feature_reader(prepared))
    for row, spent in zip(metrics["rounds"], seconds, strict=True):
        row["seconds"] = spent
    metrics["warnings"] = [*prepared.warnings, *_fit_warnings(trajectory)]
    metrics["dataset"] = prepared.facts
    return Outcome(prepared, trajectory, controls, grown, metrics)


def _grown_bank(prepared: Prepared, trajectory: Trajectory) -> Fit:
    """It serves heatmaps and the arm `bank` alone, so it is built once, at the end; `published` has one already."""
    lab, decision = prepared.lab, trajectory.decision
    if lab.config.method == "published":
        return trajectory.last
    members = np.union1d(lab.cohort.seeds, decision.held)
    return patch_bank_fit(lab, members, decision.key, score_pool=False)


def _fit_warnings(trajectory: Trajectory) -> list[str]:
    """What the fits warn of, each reason once with the fits it holds for."""
    fits: dict[str, list[int]] = {}
    for n, fit in enumerate([*(row.fit for row in trajectory.rows), trajectory.last]):
        if fit.reason:
            fits.setdefault(fit.reason, []).append(n)
    return [f"{reason} (fit {', '.join(map(str, numbers))})" for reason, numbers in fits.items()]
