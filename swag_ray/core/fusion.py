"""Several scores of the same images as one, and how much each of them counts, found without a label.

An *arm* is one way to score: the memory bank, the head that knows auxiliary anomalies, the head that knows the pool's
rejects. The fused score is a sum of arms, each in the sd of the seeds' cross-fitted scores:

    rest  = (z_bank + a z_auxiliary) / sd        a: `auxiliary_weight`
    fused = w z_head + (1 - w) rest              w: `head_weight`

Shapes: n seeds, N seeds and pool images together, V variants, T images that all folds score, K folds, S samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from swag_ray.core import calibrate
from swag_ray.core.array_checks import Floats, finite
from swag_ray.core.posterior import fit_posterior

# A head that ranks its own held-out variants above seeds this far beyond chance knows something: below, its weight
# falls to none. Heads that gained most on the study sets (35 trusted images) reached .3 to .5.
KNOWS = 0.3
# Certain anomalies at which what the pool shows counts as much as what is known without it.
PRIOR_COUNT = 5.0
# Standard errors of what speaks against the auxiliary head (`contradiction`): up to the first it keeps its weight, from
# the second it has none. In 85 pools of the study sets, whose anomalies the head finds, it is .63 at most.
DOUBTED, REFUTED = 1.0, 2.0


@dataclass(frozen=True)
class Arm:
    """One way to score, as a part of the fused score.

    Attributes:
        name: `bank`, `auxiliary` or `head`.
        weight: of its score in the fused one, per sd of the seeds' scores.
        reason: why it is this much.
        s_N: cross-fitted scores of the train images.
        s_TK: scores of the test images by each fold.
        location, sd: of the seeds' scores.
    """

    name: str
    weight: float
    reason: str
    s_N: Floats
    s_TK: Floats
    location: float
    sd: float

    @classmethod
    def of(cls, name: str, s_N: Floats, s_TK: Floats, seeds: NDArray[np.int64], reason: str = "") -> Arm:
        """Returns an arm of weight 1, on the scale of its seeds."""
        seed_n = s_N[seeds]
        calibrate.z_score(seed_n, seed_n)  # refuses scores that are all alike
        return cls(name, 1.0, reason, s_N, s_TK, float(seed_n.mean()), float(seed_n.std(ddof=1)))

    def part(self, score: Floats) -> Floats:
        """Returns what scores of this arm add to the fused score."""
        return self.weight * (score - self.location) / self.sd


def fused_train(arms: Sequence[Arm]) -> Floats:
    """Returns the fused scores of the train images (N,)."""
    return np.sum([arm.part(arm.s_N) for arm in arms], axis=0)


def fused_test(arms: Sequence[Arm]) -> Floats:
    """Returns the fused scores of the test images by each fold, (T, K)."""
    return np.sum([arm.part(arm.s_TK) for arm in arms], axis=0)


def travels(arm: str) -> bool:
    """Returns whether an arm is part of the site score, by which thresholds are moved to another place.

    Bank and auxiliary head know the trusted images alone, and another scanner moves their scores by nearly one number
    (`alignment`). The head of rejects has learnt what one pool's anomalies look like: normals of another place score
    higher by it, each by its own amount, and no unlabelled batch tells that from disease.
    """
    return arm != "head"


def rank_chance(low_A: Floats, high_B: Floats) -> float:
    """Returns the chance that one of the second ranks above one of the first, ties as half: the ROC-AUC.

    `metrics.roc_auc` would have scikit-learn imported, which takes a second, before the loop.
    """
    low, high = np.sort(finite("low_A", low_A, None)), finite("high_B", high_B, None)
    if not len(low) or not len(high):
        raise ValueError("scores of both kinds are needed")
    below = np.searchsorted(low, high, side="left")
    tied = np.searchsorted(low, high, side="right") - below
    return float((below + tied / 2).mean() / len(low))


def auxiliary_weight(bank_chance: float, head_chance: float, prior: float) -> tuple[float, str]:
    """How much the auxiliary head counts beside the bank.

    What the bank sees of the variants by itself need not be learnt from them: there the head adds its noise and little
    else. So its weight is the prior's times how blind the bank is to them, 2 (1 - AUC), as long as the head itself
    knows its held-out variants.

    Args:
        bank_chance, head_chance: chance that a held-out variant outranks a seed, by the bank and by the head.
        prior: weight where the bank is blind (`auxiliary.weight`).

    Returns:
        (weight, reason).
    """
    blind = min(1.0, max(0.0, 2 * (1 - bank_chance)))
    knows = min(1.0, max(0.0, (2 * head_chance - 1) / KNOWS))
    reason = (
        f"held-out variants rank above seeds with chance {bank_chance:.2f} by the bank, {head_chance:.2f} by the head"
    )
    return prior * blind * knows, reason


@dataclass(frozen=True)
class Evidence:
    """What the pool says of a head.

    Attributes:
        likely: mean held-out score of the pool, each image weighing its probability of being abnormal.
        placebo: the same over the seeds, under the same curve: what chance alone gives.
        count: certain anomalies that the pool amounts to.
    """

    likely: float
    placebo: float
    count: float


def evidence(z_head_N: Floats, eta_N: Floats, seed_N: NDArray[np.bool_]) -> Evidence:
    """Returns how far a head sets likely anomalies apart that it has not seen.

    Args:
        z_head_N: cross-fitted scores of the head, in the seeds' sd.
        eta_N: probability of being abnormal by the scores that its rejects were picked by, seeds too.
        seed_N: which are seeds; the others are the pool.
    """

    def mean(of_N: NDArray[np.bool_]) -> float:
        total = float(eta_N[of_N].sum())
        return float((eta_N[of_N] * z_head_N[of_N]).sum() / total) if total > 0 else 0.0

    return Evidence(mean(~seed_N), mean(seed_N), float(np.square(eta_N[~seed_N]).sum()))


def contradiction(z_bank_N: Floats, z_head_N: Floats, seed_N: NDArray[np.bool_]) -> tuple[float, str]:
    """Returns how far the auxiliary head contradicts the bank, in standard errors, and what shows it.

    Bank and head measure one thing, how unlike the seeds an image is. They may do so independently of each other, each
    seeing what the other does not. But where variants lie opposite to what makes images differ, anomalies lose by the
    head. Seeds against variants cannot show it; scores of all train images do, in one of two ways:

    - they are anticorrelated: -r sqrt(N);
    - images that the head finds more normal than seeds are (`posterior`, turned round) are suspicious to the bank:
      their mean score by it, in the seeds' sd, times the root of how many they amount to.

    A pool with too few anomalies for either leaves it unseen.

    Args:
        z_bank_N, z_head_N: cross-fitted scores of the bank and the head, in the seeds' sd.
        seed_N: which are seeds; the others are the pool.
    """
    bank, head = finite("z_bank_N", z_bank_N, None), finite("z_head_N", z_head_N, len(z_bank_N))
    correlation = float(np.corrcoef(bank, head)[0, 1])
    found = evidence(bank, fit_posterior(-head[seed_N], -head[~seed_N]).eta(-head), seed_N)
    apart, below = -correlation * len(bank) ** 0.5, found.likely * found.count**0.5
    if below > apart:
        return below, f"what it finds more normal than the seeds lies {found.likely:.2f} sd above them by the bank"
    return apart, f"its scores of the train images correlate by {correlation:+.2f} with those of the bank"


def uncontradicted(size: float) -> float:
    """Returns the share of its weight, 0 to 1, that a head keeps against a contradiction of `size` standard errors."""
    return min(1.0, max(0.0, (REFUTED - size) / (REFUTED - DOUBTED)))


def head_weight(found: Evidence) -> tuple[float, str]:
    """How much a head of the pool's rejects counts, the rest counting what is left of 1.

    In the seeds' sd, a head that sets likely anomalies d apart where seeds of the same probability lie d0 apart has a
    signal g = max(0, d - max(d0, 0))^2 against a noise of 1: the weight is g / (g + 1), times n / (n + 5) for a pool
    that amounts to n certain anomalies.

    Returns:
        (weight, reason).
    """
    signal = max(0.0, found.likely - max(found.placebo, 0.0)) ** 2
    weight = signal / (signal + 1) * found.count / (found.count + PRIOR_COUNT)
    reason = (
        f"likely anomalies of held-out folds lie {found.likely:.2f} sd above the seeds (placebo {found.placebo:.2f}), "
        f"and amount to {found.count:.1f} certain ones"
    )
    return weight, reason


def fused_uncertainty(
    parts: Sequence[tuple[float, Floats]], fold_N: NDArray[np.int8], seed_N: NDArray[np.bool_]
) -> Floats:
    """Returns u (N,): the sd over the samples of the fused score, NaN where no arm has samples.

    Each sample is standardised by its own fold's seeds (`calibrate.standardise_samples`); an arm without samples adds
    the same to all of them.

    Args:
        parts: (weight, raw scores (N, S)) of the arms that have samples.
    """
    sampled = [weight * calibrate.standardise_samples(raw_NS, fold_N, seed_N) for weight, raw_NS in parts if weight > 0]
    if not sampled:
        return np.full(len(fold_N), np.nan)
    u_N: Floats = np.sum(sampled, axis=0).std(axis=1, ddof=1)
    return u_N
