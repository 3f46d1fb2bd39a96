"""The auxiliary head: seeds against their own variants. It needs no pool, so it is fitted once, before the rounds.

Shapes: N train images (seed and pool), V variants, K folds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from swag_ray.core.fusion import auxiliary_weight, rank_chance
from swag_ray.core.quality import anomaly_probability
from swag_ray.features.cohort import Variants
from swag_ray.methods.bank_fit import bank_scorer
from swag_ray.methods.fit import Experiment, Fit, Floats
from swag_ray.methods.folds import score_own_fold
from swag_ray.methods.heads import Heads, fit_heads, head_scorer, kept_heads
from swag_ray.models.tasks import FitTask
from swag_ray.store.stages import Result, stage_key


@dataclass(frozen=True)
class AuxiliaryFit:
    """The heads that know the variants.

    Attributes:
        key: the stage that holds them.
        heads: the heads, and the scores of all images.
        weight, reason: how much they count beside the bank, and why.
    """

    key: str
    heads: Heads
    weight: float
    reason: str


def auxiliary_fit(experiment: Experiment, seed_bank: Fit) -> AuxiliaryFit | None:
    """Returns the auxiliary heads; None where no variants are made.

    Fold k's head learns from seeds and variants of the other folds, and tells its own fold's variants from its own
    fold's seeds: how well, beside the bank, sets its weight.
    """
    cohort = experiment.cohort
    if cohort.variants is None:
        return None
    variants = cohort.variants
    reads = experiment.reads("head", "swag", "random_seed", "auxiliary.quality")
    key = stage_key("auxiliary", reads, [seed_bank.key, variants.key])

    def compute() -> Result:
        rows, fold_V, banks = variants.rows_V, cohort.fold_N[variants.host_V], tuple(seed_bank.folds)
        by_bank = bank_scorer(experiment.config, seed_bank.key)
        by_bank_V = score_own_fold(experiment, by_bank, banks, rows, fold_V)[:, 0]
        quality_V = np.ones(len(rows))
        if experiment.config.auxiliary.quality == "eap":
            quality_V = anomaly_probability(seed_bank.seed_s, by_bank_V)
        heads = fit_heads(experiment, key, _tasks(experiment, variants, quality_V))
        folds = kept_heads(heads, cohort.folds)
        by_head_VS = score_own_fold(experiment, head_scorer(experiment.config), folds, rows, fold_V)
        scores = {"by_bank_V": by_bank_V, "by_head_V": by_head_VS.mean(axis=1), "quality_V": quality_V}
        return Result(heads | scores)

    result = experiment.store.stage("auxiliary", key, compute)
    heads = Heads.of(experiment, key, result)

    def chance(seed_n: Floats, name: str) -> float:
        return rank_chance(seed_n, result.arrays[name])

    weight, reason = auxiliary_weight(
        chance(seed_bank.seed_s, "by_bank_V"), chance(heads.s_N[cohort.seeds], "by_head_V"),
        experiment.config.auxiliary.weight,
    )  # fmt: skip
    return AuxiliaryFit(key, heads, weight, reason)


def _tasks(experiment: Experiment, variants: Variants, quality_V: Floats) -> list[FitTask]:
    """One task per fold: seeds of the other folds, and variants of them, which weigh their quality."""
    cohort = experiment.cohort
    tasks = []
    for k in range(cohort.folds):
        seeds = cohort.seeds[cohort.fold_N[cohort.seeds] != k]
        altered = np.flatnonzero(cohort.fold_N[variants.host_V] != k)
        rows = cohort.rows_N.take(seeds)
        tasks.append(
            FitTask(
                fold=k,
                seeds=rows,
                train=rows.joined(variants.rows_V.take(altered)),
                image=np.concatenate([seeds, variants.host_V[altered]]),
                names=(experiment.config.random_seed, "auxiliary", k),
                abnormal=np.repeat([False, True], [len(seeds), len(altered)]),
                weight=np.concatenate([np.ones(len(seeds)), quality_V[altered]]),
            )
        )
    return tasks
