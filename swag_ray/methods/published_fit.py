"""`published` (arXiv 2511.03912): adapters trained on, banks rebuilt, uncertainty from SWAG over the adapter.

Shapes: N train images (seed and pool), T test images, S samples.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from swag_ray.config import Config
from swag_ray.core import calibrate
from swag_ray.core.schedule import schedule
from swag_ray.errors import InputError
from swag_ray.methods.fit import Experiment, Fit, Floats, StoredFolds, TrainingSet
from swag_ray.methods.folds import Scorer, fold_tasks, score_images, score_test, score_train
from swag_ray.methods.settings import adapter_settings, bank_settings, published_settings
from swag_ray.models.fold_adapter import MEAN, fit_published, score_published
from swag_ray.store.stages import Arrays, Result, fold_arrays, stage_key


class Published:
    """Answers of `published`; see `methods.method.Method`."""

    picks_rejects = False
    decision_fields: tuple[str, ...] = ()

    def check(self, experiment: Experiment, fewest: int) -> None:
        schedule(fewest * experiment.config.backbone.grid**2, adapter_settings(experiment.config))

    def first_fit(self, experiment: Experiment, seed_bank: Fit) -> Fit:
        return seed_bank

    def fit(self, experiment: Experiment, n: int, training: TrainingSet, first: Fit, previous: Fit) -> Fit:
        return published_fit(experiment, n, training, previous if n > 1 else None)

    def reject_weights(self, experiment: Experiment, fit: Fit) -> Floats:
        return np.zeros(len(experiment.cohort.id_N))

    def uncertainty(self, experiment: Experiment, fit: Fit, asked: NDArray[np.int64]) -> Floats:
        return pool_uncertainty(experiment, fit, asked)

    def final_bank(self, experiment: Experiment, training: TrainingSet, last: Fit) -> Fit:
        return last  # every fit rebuilds its bank


def published_fit(experiment: Experiment, n: int, training: TrainingSet, previous: Fit | None) -> Fit:
    """Goes on from fit n-1's last iterate on seed + admitted, rebuilds the banks, scores everyone under the SWA mean.

    The seeds are also scored under every sample, each against the bank embedded by that sample: their spread is what
    the second gate measures against. No gate field is read here, so runs that differ in their gates share their first
    fit.

    Args:
        previous: fit n-1, None for fit 1.
    """
    cohort, config, workers = experiment.cohort, experiment.config, experiment.workers
    reads = experiment.reads("memory", "score", "adapter", "swag", "random_seed") | {"round": n}
    key = stage_key("fit", reads, [cohort.key, training.decision, *([previous.key] if previous else [])])
    scorer = published_scorer(config, key, (MEAN,))

    def fit_folds() -> tuple[Arrays, ...]:
        members = np.union1d(cohort.seeds, training.held)
        names = (config.random_seed, "adapter", n)
        tasks = fold_tasks(cohort, members, names, start=_last_iterates(previous) if previous else None)
        settings = published_settings(config)
        return workers.fit_banks(fit_published, tasks, settings, version=key, decision=training.decision)

    def compute() -> Result:
        folds = fit_folds()
        collapsed = _collapsed(folds, n)  # before anybody is scored
        shared = workers.put(folds)
        s_N = score_images(experiment, scorer, shared, np.arange(len(cohort.id_N)), key)[:, 0]
        sampled = published_scorer(config, key, range(config.swag.samples))
        raw_NS = score_train(experiment, sampled, shared, cohort.seeds)
        reason = f"the adapter of fold {list(collapsed)} collapsed: its images have no uncertainty" if collapsed else ""
        scores = {"s_N": s_N, "seed_raw_nS": raw_NS[cohort.seeds]}
        return Result(scores | {"collapsed_K": np.isin(range(len(folds)), collapsed)}, {"reason": reason})

    def read_folds() -> tuple[Arrays, ...]:
        bank = experiment.store.load("bank", key)
        # Damaged or pruned apart from its scores, it is fitted again: the same picks.
        return fit_folds() if bank is None else fold_arrays(bank.arrays, cohort.folds)

    result = experiment.store.stage("fit", key, compute)
    a, folds = result.arrays, StoredFolds(cohort.folds, read_folds)
    s_TK = score_test(experiment, scorer, folds, key)
    folds.release()
    if previous is not None and isinstance(previous.folds, StoredFolds):
        previous.folds.release()  # round n-1 is decided, and fit n goes on from here
    collapsed = tuple(np.flatnonzero(a["collapsed_K"]).tolist())
    measured = ~np.isin(cohort.fold_N[cohort.seeds], collapsed)
    seeds = cohort.seeds[measured]
    u_N = np.full(len(cohort.id_N), np.nan)
    all_seeds = np.ones(len(seeds), dtype=np.bool_)
    u_N[seeds] = calibrate.sample_uncertainty(a["seed_raw_nS"][measured], cohort.fold_N[seeds], all_seeds)
    return Fit(
        key, cohort, a["s_N"], u_N, s_TK, folds, "bank", reason=result.info["reason"],
        seed_raw_nS=a["seed_raw_nS"], collapsed=collapsed,
    )  # fmt: skip


def published_scorer(config: Config, key: str, samples: Sequence[int]) -> Scorer:
    """Returns how the banks of fit `key` score images under these samples of its adapters."""
    return Scorer(score_published, bank_settings(config), len(samples), (key, tuple(samples)))


def _collapsed(folds: tuple[Arrays, ...], n: int) -> tuple[int, ...]:
    """Returns the folds whose adapter collapsed in fit n. Raises InputError when no other is left."""
    found = tuple(k for k, fold in enumerate(folds) if fold["collapsed"])
    if len(found) == len(folds):
        raise InputError(
            f"adapter: it collapsed in all {len(folds)} folds of fit {n}, and no uncertainty can be measured",
            "lower adapter.learning_rate and adapter.warmup_learning_rate, or the epochs at them",
        )
    return found


def _last_iterates(fit: Fit) -> tuple[Arrays, ...]:
    """Returns what training goes on from, fold by fold; the bank and the samples need not travel with the task."""
    wanted = ("iterate.", "reference_variance")
    return tuple({name: a for name, a in fold.items() if name.startswith(wanted)} for fold in fit.folds)


def pool_uncertainty(experiment: Experiment, fit: Fit, asked: NDArray[np.int64]) -> Floats:
    """Returns u (N,) of these pool rows under the fit's samples, NaN elsewhere and where the fold collapsed.

    It costs S passes, so only images that pass the first gate are asked for.
    """
    cohort, config = experiment.cohort, experiment.config
    measured_N = ~np.isin(cohort.fold_N, fit.collapsed)
    scorer = published_scorer(config, fit.key, range(config.swag.samples))
    raw_NS = score_train(experiment, scorer, tuple(fit.folds), asked[measured_N[asked]])
    assert fit.seed_raw_nS is not None
    raw_NS[cohort.seeds] = fit.seed_raw_nS
    u_N = np.full(len(raw_NS), np.nan)
    u_N[measured_N] = calibrate.sample_uncertainty(
        raw_NS[measured_N], cohort.fold_N[measured_N], cohort.seed_N[measured_N]
    )
    u_N[cohort.seeds] = np.nan
    return u_N
