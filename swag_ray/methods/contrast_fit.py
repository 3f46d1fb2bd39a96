"""`contrast`: bank, auxiliary head and a head that learns the pool's rejects, fused into one score.

Row 0 is the fused score of the bank and the auxiliary head, which need the seeds alone. Fit n adds a head of seeds
against the rejects of row n-1. Both heads learn their normal side from the seeds alone: images that a gate has admitted
bend it towards what the score already likes.

Shapes: N train images (seed and pool), T test images, K folds, S samples.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from swag_ray.core import head, outliers
from swag_ray.core.fusion import (
    Arm,
    contradiction,
    evidence,
    fused_test,
    fused_train,
    fused_uncertainty,
    head_weight,
    uncontradicted,
)
from swag_ray.core.posterior import Posterior, fit_posterior
from swag_ray.core.seeding import numpy_generator
from swag_ray.features.cohort import Cohort
from swag_ray.methods.auxiliary_fit import AuxiliaryFit, auxiliary_fit
from swag_ray.methods.bank_fit import bank_fit
from swag_ray.methods.fit import Experiment, Fit, FittedArm, Floats, TrainingSet
from swag_ray.methods.folds import fold_tasks
from swag_ray.methods.heads import Heads, fit_heads
from swag_ray.methods.settings import contrast_settings
from swag_ray.store.stages import Result, digest, stage_key


class Contrast:
    """Answers of `contrast`; see `methods.method.Method`."""

    picks_rejects = True
    decision_fields: tuple[str, ...] = ("outliers.probability", "outliers.weights")

    def check(self, experiment: Experiment, fewest: int) -> None:
        head.snapshots(fewest, contrast_settings(experiment.config).fit)

    def first_fit(self, experiment: Experiment, seed_bank: Fit) -> Fit:
        cohort, found = experiment.cohort, auxiliary_fit(experiment, seed_bank)
        bank = FittedArm(Arm.of("bank", seed_bank.s_N, seed_bank.s_TK, cohort.seeds), seed_bank.folds)
        if found is None:
            return replace(seed_bank, arms=(bank,))
        heads = found.heads
        arm = _auxiliary_arm(found, bank.arm, cohort)
        auxiliary = FittedArm(arm, heads.folds, heads.raw_NS)
        # The heads do not depend on the prior weight, what is decided on the fused score does.
        key = stage_key("fit", experiment.reads("auxiliary.weight") | {"round": 0}, [found.key])
        if arm.weight == 0:
            return replace(seed_bank, key=key, arms=(bank, auxiliary))
        sd = float(fused_train([bank.arm, arm])[cohort.seeds].std(ddof=1))
        return _fused(experiment, key, [part.weighing(part.arm.weight / sd) for part in (bank, auxiliary)])

    def fit(self, experiment: Experiment, n: int, training: TrainingSet, first: Fit, previous: Fit) -> Fit:
        """Returns fit n: what the head of the last row's rejects adds to the first fit."""
        cohort = experiment.cohort
        reads = experiment.reads("head", "swag", "outliers.maximum", "random_seed") | {"round": n}
        # Heads depend on whom a decision rejects, not on whom it admits: controls of admission share them.
        heads_key = stage_key("fit", reads, [cohort.key, digest(training.reject_weight_N)])
        result = experiment.store.stage("fit", heads_key, lambda: _fit_heads(experiment, heads_key, n, training))
        key = stage_key("fit", {"heads": heads_key}, [first.key, previous.key])
        if not result.info["fitted"]:
            return replace(first, key=key, reason=result.info["reason"])
        heads = Heads.of(experiment, heads_key, result)
        arm = Arm.of("head", heads.s_N, heads.s_TK, cohort.seeds)
        eta_N = _posterior(previous).eta(previous.z_N)
        weight, reason = head_weight(evidence(arm.part(heads.s_N), eta_N, cohort.seed_N))
        learnt = FittedArm(replace(arm, weight=weight, reason=reason), heads.folds, heads.raw_NS)
        if weight == 0:
            return replace(first, key=key, arms=(*first.arms, learnt), reason=f"head without weight: {reason}")
        rest = [part.weighing(part.arm.weight * (1 - weight)) for part in first.arms]
        return _fused(experiment, key, [*rest, learnt])

    def reject_weights(self, experiment: Experiment, fit: Fit) -> Floats:
        pool = experiment.cohort.pool
        weight_N = np.zeros(len(experiment.cohort.id_N))
        eta_m = _posterior(fit).eta(fit.z_N[pool])
        weight_N[pool] = outliers.reject_weights(eta_m, experiment.config.outliers.probability)
        if experiment.config.outliers.weights == "equal":
            weight_N = (weight_N > 0).astype(np.float64)
        return weight_N

    def uncertainty(self, experiment: Experiment, fit: Fit, asked: NDArray[np.int64]) -> Floats:
        return fit.u_N  # one matrix product gave all of them

    def final_bank(self, experiment: Experiment, training: TrainingSet, last: Fit) -> Fit:
        # No round needs it, so it is built once, at the end.
        members = np.union1d(experiment.cohort.seeds, training.held)
        return bank_fit(experiment, members, training.decision, score_pool=False)


def _posterior(fit: Fit) -> Posterior:
    """How likely each image is abnormal by a fit's scores."""
    return fit_posterior(fit.z_N[fit.cohort.seeds], fit.z_N[fit.cohort.pool])


def _auxiliary_arm(found: AuxiliaryFit, bank: Arm, cohort: Cohort) -> Arm:
    """The arm of the auxiliary heads: as much as seeds and variants say, unless it contradicts the bank."""
    arm = Arm.of("auxiliary", found.heads.s_N, found.heads.s_TK, cohort.seeds)
    size, seen = contradiction(bank.part(bank.s_N), arm.part(arm.s_N), cohort.seed_N)
    share = uncontradicted(size)
    reason = found.reason if share == 1 else f"{found.reason}; {seen}, which leaves it {share:.0%} of its weight"
    return replace(arm, weight=found.weight * share, reason=reason)


def _fused(experiment: Experiment, key: str, parts: list[FittedArm]) -> Fit:
    """The fit of the fused score."""
    cohort, arms = experiment.cohort, [part.arm for part in parts]
    sampled = [(part.arm.weight, part.raw_NS) for part in parts if part.raw_NS is not None and part.raw_NS.shape[1] > 1]
    u_N = fused_uncertainty(sampled, cohort.fold_N, cohort.seed_N)
    return Fit(
        key, cohort, fused_train(arms), u_N, fused_test(arms), parts[0].folds, "fused",
        head_on=any(arm.name == "head" for arm in arms), arms=tuple(parts),
    )  # fmt: skip


def _fit_heads(experiment: Experiment, key: str, n: int, training: TrainingSet) -> Result:
    """The heads of seeds against rejects, or why there are none."""
    cohort, config = experiment.cohort, experiment.config
    generator = numpy_generator(config.random_seed, "rejects", n)
    drawn = outliers.draw_rejects(training.rejects, config.outliers.maximum, generator)
    if len(np.unique(cohort.fold_N[drawn])) < 2:
        reason = (
            "no pool image is likely abnormal"
            if not len(drawn)
            else "all rejects that it would learn from are in one fold"
        )
        return Result({}, {"fitted": False, "reason": f"no head: {reason}"})
    members = np.concatenate([cohort.seeds, drawn])
    weights = np.concatenate([np.ones(len(cohort.seeds)), training.reject_weight_N[drawn]])
    tasks = fold_tasks(cohort, members, (config.random_seed, "head", n), abnormal=drawn, weights=weights)
    return Result(fit_heads(experiment, key, tasks), {"fitted": True, "reason": ""})
