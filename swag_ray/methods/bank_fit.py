"""The fit of plain PatchCore: one memory bank per fold. Row 0 of every experiment, and some of its controls.

Shapes: N train images (seed and pool), T test images, K folds.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from swag_ray.config import Config
from swag_ray.methods.fit import Experiment, Fit, StoredFolds
from swag_ray.methods.folds import Scorer, fold_tasks, score_images, score_test
from swag_ray.methods.settings import bank_settings
from swag_ray.models.fold_bank import fit_bank, score_bank
from swag_ray.store.stages import Arrays, Result, fold_arrays, stage_key


def bank_fit(
    experiment: Experiment,
    members: NDArray[np.int64],
    decision: str | None = None,
    *,
    score_pool: bool | Literal["members"] = True,
) -> Fit:
    """Returns plain PatchCore over these train images, one bank per fold: seed-only bank, final bank or control.

    Args:
        members: train rows that the banks may hold.
        decision: key of the decision that admitted them, for the bank actor to check; None for seeds or a control.
        score_pool: whether pool images are scored too, or those among the members alone. Only row 0 needs all: its
            rejects are picked among them.
    """
    cohort, settings, store = experiment.cohort, bank_settings(experiment.config), experiment.store
    reads = experiment.reads("memory", "score") | {"members": members.tolist(), "score_pool": score_pool}
    key = stage_key("bank", reads, [cohort.key])
    scorer = bank_scorer(experiment.config, key)

    def fit_folds() -> tuple[Arrays, ...]:
        tasks = fold_tasks(cohort, members, ("bank",))
        return experiment.workers.fit_banks(fit_bank, tasks, settings, version=key, decision=decision)

    def compute() -> Result:
        rows = {True: np.arange(len(cohort.id_N)), False: cohort.seeds, "members": members}[score_pool]
        return Result({"s_N": score_images(experiment, scorer, fit_folds(), rows, key)[:, 0]})

    def read_folds() -> tuple[Arrays, ...]:
        bank = store.load("bank", key)
        # Damaged or pruned apart from its scores, it is fitted again: the same picks.
        return fit_folds() if bank is None else fold_arrays(bank.arrays, cohort.folds)

    s_N, folds = store.stage("scores", key, compute).arrays["s_N"], StoredFolds(cohort.folds, read_folds)
    s_TK = score_test(experiment, scorer, folds, key)
    folds.release()
    return Fit(key, cohort, s_N, np.full(len(cohort.id_N), np.nan), s_TK, folds, "seed_bank")


def bank_scorer(config: Config, key: str) -> Scorer:
    """Returns how the banks of a stage score images."""
    return Scorer(score_bank, bank_settings(config), extra=(key,))
