"""Fit n of `contrast`: heads on seed + admitted against the last row's rejects."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from swag_ray.core import calibrate, outliers
from swag_ray.core.seeding import numpy_generator
from swag_ray.methods.fit import Fit, Lab
from swag_ray.methods.folds import fold_tasks, score_images
from swag_ray.methods.settings import contrast_settings
from swag_ray.models.fold_head import fit_head, score_head
from swag_ray.store.stages import Result, fold_arrays, stage_key


def contrast_fit(
    lab: Lab, n: int, decision: str, held: NDArray[np.int64], rejects: NDArray[np.int64], seed_bank: Fit
) -> Fit:
    """Fit n of `contrast`: the head anew on seed + admitted against the last row's rejects, or the seed bank's scores.

    Args:
        decision: key of the decision whose admitted images and rejects these are.
        held, rejects: own rows.
        seed_bank: row 0, whose figures stand where the head stays off.
    """
    cohort = lab.cohort
    reads = lab.reads("head", "swag", "outliers", "random_seed") | {"round": n}
    key = stage_key("fit", reads, [cohort.key, seed_bank.key, decision])
    result = lab.store.stage("fit", key, lambda: _fit_heads(lab, n, held, rejects))
    if not result.info["head_on"]:
        reason = f"head off: {result.info['reason']}"
        return Fit(key, seed_bank.s_N, seed_bank.u_N, seed_bank.s_TK, seed_bank.folds, "seed_bank", False, reason)
    arrays = result.arrays
    folds = fold_arrays({name: a for name, a in arrays.items() if name.startswith("fold")}, cohort.folds)
    return Fit(key, arrays["s_N"], arrays["u_N"], arrays["s_TK"], folds, "head", True)


def _fit_heads(lab: Lab, n: int, held: NDArray[np.int64], rejects: NDArray[np.int64]) -> Result:
    cohort, config = lab.cohort, lab.config
    rule = config.outliers
    pool, seeds = len(cohort.pool), len(cohort.seeds)
    allowed, reason = outliers.enough_rejects(len(rejects), pool, seeds, fdr=rule.fdr, minimum=rule.minimum)
    if allowed and len(np.unique(cohort.fold_N[rejects])) < 2:
        allowed, reason = False, "all rejects are in one fold, whose model would have none to learn from"
    if not allowed:
        return Result({}, {"head_on": False, "reason": reason})
    drawn = outliers.draw_rejects(rejects, rule.maximum, numpy_generator(config.random_seed, "rejects", n))
    settings = contrast_settings(config)
    trusted = np.concatenate([cohort.seeds, np.setdiff1d(held, cohort.seeds)])
    members = np.concatenate([trusted, drawn])
    tasks = fold_tasks(lab, members, (config.random_seed, "head", n), rejected=drawn)
    folds = tuple(lab.workers.map(fit_head, tasks, settings, advance=lab.progress.advance))
    own = np.arange(len(cohort.id_N))
    raw_NS, raw_TKS = score_images(lab, score_head, folds, settings, own, samples=settings.samples)
    s_N = raw_NS.mean(axis=1)
    allowed, reason = outliers.tells_apart(s_N[cohort.seeds], s_N[drawn])
    if not allowed:
        return Result({}, {"head_on": False, "reason": reason})
    u_N = calibrate.standardise_samples(raw_NS, cohort.fold_N, cohort.seed_N).std(axis=1, ddof=1)
    models = {f"fold{k}.{name}": a for k, fold in enumerate(folds) for name, a in fold.items()}
    scores = {"s_N": s_N, "u_N": u_N, "s_TK": raw_TKS.mean(axis=2)}
    return Result(scores | models, {"head_on": True, "reason": ""})
