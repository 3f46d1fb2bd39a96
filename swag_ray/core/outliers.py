"""Latent outliers: the pool's clear rejects, picked without a label, and whether they may teach a head.

Shapes: m pool images, n seeds, K folds.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

# p-values are multiples of 1 / (n + 1), so equality with a line of the procedure is a case that occurs, not an accident
# of rounding: both sides are compared with this relative slack.
SLACK = 1e-9


def benjamini_hochberg(p_m: NDArray[np.float64], fdr: float) -> NDArray[np.bool_]:
    """Rejections of the step-up procedure (Benjamini and Hochberg 1995).

    Args:
        p_m: p-values in [0, 1], any order.
        fdr: false discovery rate in (0, 1).

    Returns:
        (m,) bool: the k smallest p-values, k the largest rank with p_(k) <= fdr k / m; ties are all in or all out.
    """
    if not 0 < fdr < 1:
        raise ValueError(f"a false discovery rate lies in (0, 1), not {fdr}")
    if not ((p_m >= 0) & (p_m <= 1)).all():
        raise ValueError("p-values lie in [0, 1]")
    if len(p_m) == 0:
        return np.zeros(0, dtype=np.bool_)
    sorted_m = np.sort(p_m)
    line_m = fdr * np.arange(1, len(p_m) + 1) / len(p_m) * (1 + SLACK)
    below = np.flatnonzero(sorted_m <= line_m)
    if len(below) == 0:
        return np.zeros(len(p_m), dtype=np.bool_)
    return np.asarray(p_m <= sorted_m[below[-1]], dtype=np.bool_)


def clear_rejects(p_m: NDArray[np.float64], fdr: float, ceiling: float) -> NDArray[np.bool_]:
    """Rejections of `benjamini_hochberg` whose p-value is at most `ceiling`.

    The FDR bounds the share of normals among the rejects. In a pool of mostly anomalies that leaves room for a tenth of
    all normals, and those are the odd ones that a head most needs on the right side; the ceiling bounds the share of
    normals that are rejected.
    """
    return benjamini_hochberg(p_m, fdr) & (p_m <= ceiling * (1 + SLACK))


def fewest_rejects(pool: int, seeds: int, fdr: float) -> int:
    """The fewest rejections `benjamini_hochberg` can give on conformal p-values: ceil(m / ((n + 1) fdr)).

    The smallest conformal p-value is 1 / (n + 1), and k rejections need one of at most fdr k / m.
    """
    return max(1, math.ceil(pool / ((seeds + 1) * fdr) * (1 - SLACK)))


def draw_rejects(reject_M: NDArray[np.int64], maximum: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """At most `maximum` of the rejects, uniformly, ascending; all of them where they are no more than that.

    The generator is used only where something is drawn, so a run below the maximum does not depend on it.
    """
    if maximum < 1:
        raise ValueError(f"at least one reject must be drawn, not {maximum}")
    if len(reject_M) <= maximum:
        return np.sort(reject_M)
    return np.sort(generator.choice(reject_M, size=maximum, replace=False))


def enough_rejects(rejects: int, pool: int, seeds: int, *, fdr: float, minimum: int) -> tuple[bool, str]:
    """Whether there are rejects enough to teach a head.

    Args:
        rejects: held by the row the head would learn from.
        minimum: the fewest ever accepted (`outliers.minimum`).

    Returns:
        (allowed, reason); the reason is empty where it is allowed.
    """
    needed = max(minimum, fewest_rejects(pool, seeds, fdr))
    if rejects >= needed:
        return True, ""
    return False, f"{rejects} rejects, fewer than the {needed} needed ({pool} pool images, {seeds} seeds, FDR {fdr:g})"


def separates_from_seeds(
    seed_logit_n: NDArray[np.floating], reject_logit_M: NDArray[np.floating], *, least: float = 0.9
) -> tuple[bool, str]:
    """Whether held-out folds tell rejects from seeds.

    Rejects of a clean pool are merely its oddest normals, each odd in its own way: a head learns little from the others
    about one it has not seen. On chest X-rays (train folder alone) the chance was .77-.91 for such rejects, and a head
    made of them ranked anomalies .06-.21 worse than the bank; it was .92-.99 where at least .56 of them were anomalies.

    Args:
        seed_logit_n: cross-fitted logits of the seeds (each by the model that never saw its fold).
        reject_logit_M: cross-fitted logits of the rejects the head learnt from.
        least: the smallest chance that a reject outranks a seed.

    Returns:
        (allowed, reason); the reason is empty where it is allowed.
    """
    if not len(seed_logit_n) or not len(reject_logit_M):
        raise ValueError("both seeds and rejects are needed")
    sorted_n = np.sort(seed_logit_n)
    below = np.searchsorted(sorted_n, reject_logit_M, side="left")
    tied = np.searchsorted(sorted_n, reject_logit_M, side="right") - below
    chance = float((below + tied / 2).mean() / len(sorted_n))
    if chance >= least:
        return True, ""
    text = _rounded_below(chance, least)
    return False, f"held-out folds rank a reject above a seed with chance {text} only, less than {least}"


def _rounded_below(value: float, limit: float) -> str:
    """Returns a value below the limit with two decimals, or with as many as leave the text below the limit too."""
    texts = (f"{value:.{decimals}f}" for decimals in range(2, 17))
    return next((text for text in texts if float(text) < limit), repr(value))
