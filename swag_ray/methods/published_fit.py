"""Fit n of `published`: adapters trained on, banks rebuilt, the seeds' uncertainty; and u of whomever the gate asks
for.

Shapes: N own images, T test images, S samples.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from swag_ray.core import calibrate
from swag_ray.methods.fit import Fit, Floats, Lab
from swag_ray.methods.folds import fold_tasks, score_images
from swag_ray.methods.settings import bank_settings, published_settings
from swag_ray.models.fold_adapter import MEAN, fit_published, score_published
from swag_ray.store.stages import Arrays, Result, fold_arrays, stage_key


def published_fit(lab: Lab, n: int, decision: str, held: NDArray[np.int64], previous: Fit | None) -> Fit:
    """Go on from fit n-1's last iterate on seed + admitted, rebuild the banks, score everyone under the SWA mean.

    The seeds are also scored under every sample, each against the bank embedded by that sample: their spread is what
    the second gate measures against. No gate field is read here, so runs that differ in their gates share their first
    fit.

    Args:
        decision: key of the decision whose admitted images these are.
        held: own rows admitted so far.
        previous: fit n-1, None for fit 1.
    """
    cohort, config = lab.cohort, lab.config
    reads = lab.reads("memory", "score", "adapter", "swag", "random_seed") | {"round": n}
    key = stage_key("fit", reads, [cohort.key, decision, *([previous.key] if previous else [])])

    def compute() -> Result:
        settings = published_settings(config)
        members = np.union1d(cohort.seeds, held)
        names = (config.random_seed, "adapter", n)
        tasks = fold_tasks(lab, members, names, start=_last_iterates(previous) if previous else None)
        folds = lab.workers.publish(fit_published, tasks, settings, version=key, decision=decision)
        shared = lab.workers.share(folds)
        everyone = np.arange(len(cohort.id_N))
        s_NS, s_TKS = score_images(
            lab, score_published, shared, settings.bank, everyone, samples=1, extra=(key, (MEAN,))
        )
        samples = tuple(range(settings.samples))
        raw_NS, _ = score_images(
            lab,
            score_published,
            shared,
            settings.bank,
            cohort.seeds,
            samples=len(samples),
            extra=(key, samples),
            test=False,
        )
        collapsed = [k for k, fold in enumerate(folds) if fold["collapsed"]]
        reason = f"the adapter of fold {collapsed} collapsed and was stopped" if collapsed else ""
        return Result(
            {"s_N": s_NS[:, 0], "s_TK": s_TKS[:, :, 0], "seed_raw_nS": raw_NS[cohort.seeds]}, {"reason": reason}
        )

    result = lab.store.stage("fit", key, compute)
    rows = lab.store.load("bank", key)
    if rows is None:  # damaged or pruned apart from its scores
        result = compute()
        rows = lab.store.load("bank", key)
        assert rows is not None
    a = result.arrays
    seeds = cohort.seeds
    u_N = np.full(len(cohort.id_N), np.nan)
    standard = calibrate.standardise_samples(
        a["seed_raw_nS"], cohort.fold_N[seeds], np.ones(len(seeds), dtype=np.bool_)
    )
    u_N[seeds] = standard.std(axis=1, ddof=1)
    folds = fold_arrays(rows.arrays, cohort.folds)
    return Fit(key, a["s_N"], u_N, a["s_TK"], folds, "bank", False, result.info["reason"], a["seed_raw_nS"])


def _last_iterates(fit: Fit) -> tuple[Arrays, ...]:
    """What training goes on from, fold by fold; the bank and the samples need not travel with the task."""
    wanted = ("iterate.", "reference_variance")
    return tuple({name: a for name, a in fold.items() if name.startswith(wanted)} for fold in fit.folds)


def pool_uncertainty(lab: Lab, fit: Fit, asked: NDArray[np.int64]) -> Floats:
    """u of these pool images under the fit's samples, NaN elsewhere: (N,). Costs S passes, so only the gate's first
    survivors are asked for."""
    cohort, seeds, samples = lab.cohort, lab.cohort.seeds, tuple(range(lab.config.swag.samples))
    bank = bank_settings(lab.config)
    raw_NS, _ = score_images(
        lab, score_published, fit.folds, bank, asked, samples=len(samples), extra=(fit.key, samples), test=False
    )
    assert fit.seed_raw_nS is not None
    raw_NS[seeds] = fit.seed_raw_nS
    standard_NS = calibrate.standardise_samples(raw_NS, cohort.fold_N, cohort.seed_N)
    u_N = standard_NS.std(axis=1, ddof=1)
    u_N[seeds] = np.nan
    return u_N
