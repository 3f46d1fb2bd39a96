"""The incremental experiment. Start here: `incremental_loop` is the method on one screen.

    from swag_ray import load_config, run_experiment
    run = run_experiment(load_config("configs/demo.yaml"), out="runs/demo")

Every step is a stage of the store, so that whatever was computed before, by this run or another, is read and not
computed again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from swag_ray.experiment.decide import SWAG_GATE, AdmissionRule, RoundDecision, decide
from swag_ray.methods.bank_fit import bank_fit
from swag_ray.methods.fit import Experiment, Fit
from swag_ray.methods.method import method_of


@dataclass(frozen=True)
class Round:
    """Fit n and what was decided on its scores: one row of the record. Row 0 is what the seeds alone give."""

    n: int
    fit: Fit
    decision: RoundDecision


@dataclass(frozen=True)
class Trajectory:
    """The whole loop: the bank of the seeds alone, rounds 0..R, and the last fit, on which nothing is decided any more:
    it is the detector.
    """

    seed_bank: Fit
    rows: tuple[Round, ...]
    last: Fit

    @property
    def decision(self) -> RoundDecision:
        return self.rows[-1].decision

    @property
    def exhausted(self) -> bool:
        return self.decision.exhausted


def incremental_loop(
    experiment: Experiment,
    rule: AdmissionRule = SWAG_GATE,
    on_round: Callable[[Round], None] = lambda row: None,
) -> Trajectory:
    """Scores with the seeds alone, then fits, gates and admits, round after round.

    A last fit learns from the images that the last round admitted; it is the detector.
    """
    method, progress = method_of(experiment), experiment.progress
    method.check(experiment, _fewest_in_a_fit(experiment))
    with progress.phase("fits", "row 0: what the seeds alone give"):
        seed_bank = bank_fit(experiment, experiment.cohort.seeds)
        first = fit = method.first_fit(experiment, seed_bank)
        rows = [Round(0, first, decide(experiment, 0, first, None, rule))]
    on_round(rows[0])
    for n in range(1, experiment.config.rounds + 1):
        before = rows[-1].decision
        with progress.phase("fits", f"round {n} of {experiment.config.rounds}: fit, score, gate"):
            fit = method.fit(experiment, n, before.training, first, fit)
            rows.append(Round(n, fit, decide(experiment, n, fit, before, rule)))
        on_round(rows[-1])
        if rows[-1].decision.exhausted:
            break
    with progress.phase("fits", "last fit"):
        last = method.fit(experiment, len(rows), rows[-1].decision.training, first, fit)
    return Trajectory(seed_bank, tuple(rows), last)


def _fewest_in_a_fit(experiment: Experiment) -> int:
    """Returns the seeds outside the fold that holds the most: every fit has at least these images."""
    fold_n = experiment.cohort.fold_N[experiment.cohort.seeds]
    return len(fold_n) - int(np.bincount(fold_n).max())
