"""`contrast`: a head learns seed + admitted against the pool's clear rejects; where it cannot, the seed bank stands.

Shapes: N train images (seed and pool), T test images, K folds, S samples.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from swag_ray.core import calibrate, head, outliers
from swag_ray.core.seeding import numpy_generator
from swag_ray.methods.bank_fit import bank_fit
from swag_ray.methods.fit import Experiment, Fit, Floats, Mask, TrainingSet
from swag_ray.methods.folds import fold_tasks, score_images
from swag_ray.methods.settings import contrast_settings
from swag_ray.models.fold_head import fit_head, score_head
from swag_ray.store.stages import Result, flat_folds, fold_arrays, stage_key


class Contrast:
    """Answers of `contrast`; see `methods.method.Method`."""

    picks_rejects = True
    decision_fields: tuple[str, ...] = ("outliers.fdr", "outliers.ceiling")

    def check(self, experiment: Experiment, fewest: int) -> None:
        head.snapshots(fewest, contrast_settings(experiment.config).fit)

    def fit(self, experiment: Experiment, n: int, training: TrainingSet, seed_bank: Fit, previous: Fit) -> Fit:
        return contrast_fit(experiment, n, training, seed_bank)

    def rejects(self, experiment: Experiment, fit: Fit) -> Mask:
        rule, pool = experiment.config.outliers, experiment.cohort.pool
        rejected_N = np.zeros(len(experiment.cohort.id_N), dtype=np.bool_)
        rejected_N[pool] = outliers.clear_rejects(fit.p_N[pool], rule.fdr, rule.ceiling)
        return rejected_N

    def uncertainty(self, experiment: Experiment, fit: Fit, asked: NDArray[np.int64]) -> Floats:
        return fit.u_N  # one matrix product gave all of them

    def final_bank(self, experiment: Experiment, training: TrainingSet, last: Fit) -> Fit:
        # No round needs it, so it is built once, at the end.
        members = np.union1d(experiment.cohort.seeds, training.held)
        return bank_fit(experiment, members, training.decision, score_pool=False)


def contrast_fit(experiment: Experiment, n: int, training: TrainingSet, seed_bank: Fit) -> Fit:
    """Returns fit n: the head anew on seed + admitted against the last row's rejects, or the seed bank's scores.

    Args:
        seed_bank: row 0, whose scores stand where the head stays off.
    """
    cohort = experiment.cohort
    reads = experiment.reads("head", "swag", "outliers", "random_seed") | {"round": n}
    key = stage_key("fit", reads, [cohort.key, seed_bank.key, training.decision])
    result = experiment.store.stage("fit", key, lambda: _fit_heads(experiment, n, training))
    if not result.info["head_on"]:
        reason = f"head off: {result.info['reason']}"
        b = seed_bank
        return Fit(key, cohort, b.s_N, b.u_N, b.s_TK, b.folds, "seed_bank", False, reason)
    arrays = result.arrays
    folds = fold_arrays({name: a for name, a in arrays.items() if name.startswith("fold")}, cohort.folds)
    return Fit(key, cohort, arrays["s_N"], arrays["u_N"], arrays["s_TK"], folds, "head", True)


def _fit_heads(experiment: Experiment, n: int, training: TrainingSet) -> Result:
    cohort, config, rejects = experiment.cohort, experiment.config, training.rejects
    rule = config.outliers
    pool, seeds = len(cohort.pool), len(cohort.seeds)
    allowed, reason = outliers.enough_rejects(len(rejects), pool, seeds, fdr=rule.fdr, minimum=rule.minimum)
    if allowed and len(np.unique(cohort.fold_N[rejects])) < 2:
        allowed, reason = False, "all rejects are in one fold, whose model would have none to learn from"
    if not allowed:
        return Result({}, {"head_on": False, "reason": reason})
    drawn = outliers.draw_rejects(rejects, rule.maximum, numpy_generator(config.random_seed, "rejects", n))
    settings = contrast_settings(config)
    trusted = np.concatenate([cohort.seeds, np.setdiff1d(training.held, cohort.seeds)])
    members = np.concatenate([trusted, drawn])
    tasks = fold_tasks(cohort, members, (config.random_seed, "head", n), rejected=drawn)
    folds = tuple(experiment.workers.map(fit_head, tasks, settings, advance=experiment.progress.advance))
    everyone = np.arange(len(cohort.id_N))
    raw_NS, raw_TKS = score_images(experiment, score_head, folds, settings, everyone, samples=settings.samples)
    s_N = raw_NS.mean(axis=1)
    allowed, reason = outliers.separates_from_seeds(s_N[cohort.seeds], s_N[drawn])
    if not allowed:
        return Result({}, {"head_on": False, "reason": reason})
    u_N = calibrate.sample_uncertainty(raw_NS, cohort.fold_N, cohort.seed_N)
    scores = {"s_N": s_N, "u_N": u_N, "s_TK": raw_TKS.mean(axis=2)}
    return Result(scores | flat_folds(folds), {"head_on": True, "reason": ""})
