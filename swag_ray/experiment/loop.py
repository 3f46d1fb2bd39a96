"""The incremental experiment, from a config to scores of every round.

    from swag_ray import load_config, run_experiment
    run = run_experiment(load_config("configs/demo.yaml"), out="runs/demo")

Read `incremental_loop` first: it is the method. Every step is a stage of the store, so that whatever was computed
before, by this run or another, is read and not computed again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from swag_ray.core import head
from swag_ray.core.schedule import schedule
from swag_ray.experiment.decide import SWAG_GATE, Decision, Rule, decide
from swag_ray.methods.bank_fit import patch_bank_fit
from swag_ray.methods.contrast_fit import contrast_fit
from swag_ray.methods.fit import Fit, Lab
from swag_ray.methods.published_fit import published_fit
from swag_ray.methods.settings import adapter_settings, contrast_settings


@dataclass(frozen=True)
class Row:
    """One row of the record: fit n's figures and what was decided on them; row 0 is the seed-only bank."""

    n: int
    fit: Fit
    decision: Decision


@dataclass(frozen=True)
class Trajectory:
    """The whole loop: rows 0..R and the last fit, which has no row and is the detector."""

    rows: tuple[Row, ...]
    last: Fit

    @property
    def seed_bank(self) -> Fit:
        return self.rows[0].fit

    @property
    def decision(self) -> Decision:
        return self.rows[-1].decision

    @property
    def exhausted(self) -> bool:
        return self.decision.exhausted


def incremental_loop(
    lab: Lab,
    rule: Rule = SWAG_GATE,
    on_row: Callable[[Row], None] = lambda row: None,
) -> Trajectory:
    """Score with the seeds alone, then fit, gate and admit, round after round; one last fit lets the last admitted
    count.
    """
    require_snapshots(lab)
    with lab.progress.phase("fits", "row 0: seed-only memory bank"):
        seed_bank = patch_bank_fit(lab, lab.cohort.seeds)
        rows = [Row(0, seed_bank, decide(lab, 0, seed_bank, None, rule))]
    on_row(rows[0])
    fit = seed_bank
    for n in range(1, lab.config.rounds + 1):
        with lab.progress.phase("fits", f"round {n} of {lab.config.rounds}: fit, score, gate"):
            fit = fit_round(lab, n, rows[-1].decision, seed_bank, fit)
            rows.append(Row(n, fit, decide(lab, n, fit, rows[-1].decision, rule)))
        on_row(rows[-1])
        if rows[-1].decision.exhausted:
            break
    with lab.progress.phase("fits", "last fit"):
        last = fit_round(lab, len(rows), rows[-1].decision, seed_bank, fit)
    return Trajectory(tuple(rows), last)


def require_snapshots(lab: Lab) -> None:
    """Refuse, before anything is fitted, a `swag.collect_every` that would leave a fit without a posterior.

    Steps are counted for the fold that learns from the fewest seeds; every fit has at least these images.
    """
    fold_n = lab.cohort.fold_N[lab.cohort.seeds]
    fewest = len(fold_n) - int(np.bincount(fold_n).max())
    if lab.config.method == "contrast":
        head.snapshots(fewest, contrast_settings(lab.config).fit)
    else:
        patches = fewest * lab.config.backbone.grid**2
        schedule(patches, adapter_settings(lab.config))


def fit_round(lab: Lab, n: int, before: Decision, seed_bank: Fit, previous: Fit) -> Fit:
    """Fit n on seed + admitted so far, by the config's method."""
    if lab.config.method == "contrast":
        return contrast_fit(lab, n, before.key, before.held, before.rejects, seed_bank)
    return published_fit(lab, n, before.key, before.held, previous if n > 1 else None)
