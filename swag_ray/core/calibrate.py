"""Scores on the scale of the trusted seeds: p-values, z-scores, samples on a common scale, checks of both.

Every seed score that enters here is cross-fitted: made by a model that never saw the seed's fold. A seed that sits in
its own memory bank scores too low, and a gate calibrated on such seeds lets almost nothing through.

Legend: n seeds, N seeds and pool images together (or any images), T images scored by all folds, K folds, S samples.
Larger scores are more anomalous.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swag_ray.core.array_checks import Floats, finite, floats, mask

FLOOR = 1e-12  # uncertainties below this are one and the same: no spread at all
RESOLUTION = 1e-6  # of scores of order 1: 8 units in the last place of float32, in which they are computed
ROUNDING = 1e-12  # of float64: squares below this share of the others are rounding


class DegenerateScores(ValueError):
    """The seeds' scores are all alike, so that nothing can be measured against them (a collapsed model does this)."""


def conformal_p(seed_score_n: NDArray[Any], score_N: NDArray[Any]) -> Floats:
    """Conformal p-values of images that each have one cross-fitted score (seeds and pool images).

    p = (1 + #{seeds i: s_i >= s_x}) / (n + 1); a seed counts itself.

    Source: Vovk, Gammerman, Shafer (2005); Bates et al. (2023), "Testing for outliers with conformal p-values", eq. 2.

    Shape:
        seed_score_n: (n,); score_N: (N,). Returns (N,) in [1 / (n + 1), 1].

    Raises:
        ValueError: no seeds, or a score that is not finite.
    """
    seed_n = np.sort(finite("seed_score_n", seed_score_n, None))
    score = finite("score_N", score_N, None)
    _require_rows("seed_score_n", seed_n, 1)
    return (1.0 + _at_least(seed_n, score)) / (len(seed_n) + 1)


def cross_conformal_p(seed_score_n: NDArray[Any], seed_fold_n: NDArray[Any], score_TK: NDArray[Any]) -> Floats:
    """Cross-conformal p-values of images that all K models score (test images, new images).

    p = (1 + sum_i [s_i >= s_k(i)(x)]) / (n + 1), k(i) the fold of seed i: each seed is compared under the model that
    scored it. The guarantee is about 2 alpha, in practice the rate is near alpha.

    Source: Vovk (2015), "Cross-conformal predictors"; Barber et al. (2021), "Predictive inference with the jackknife+".

    Shape:
        seed_score_n: (n,); seed_fold_n: (n,) integers in 0..K-1; score_TK: (T, K). Returns (T,).

    Raises:
        ValueError: no seeds, shapes that differ, a fold outside 0..K-1, or a score that is not finite.
    """
    seed_n = finite("seed_score_n", seed_score_n, None)
    score = finite("score_TK", score_TK, None, None)
    _require_rows("seed_score_n", seed_n, 1)
    fold_n = _folds("seed_fold_n", seed_fold_n, len(seed_n), score.shape[1])
    above_T = np.zeros(len(score), dtype=np.int64)
    for k in range(score.shape[1]):
        above_T += _at_least(np.sort(seed_n[fold_n == k]), score[:, k])
    return (1.0 + above_T) / (len(seed_n) + 1)


def z_score(reference_n: NDArray[Any], score_N: NDArray[Any]) -> Floats:
    """(score - mean) / sd of the reference, the sd with n - 1 in its denominator.

    A score that is NaN (not computed) stays NaN; the reference must be complete. Scores are figures of order 1 that
    were computed in float32: logits, or distances between vectors of length 1. A distance is the root of a square that
    is known to about 1e-6, so distances below 1e-3 (blank films against each other) are rounding.

    Shape:
        reference_n: (n,), n >= 2; score_N: any shape, which is also the shape returned.

    Raises:
        ValueError: fewer than two reference values, or one that is not finite.
        DegenerateScores: the reference has no spread. A z of 0, infinity or NaN for all would let all pass or none.
    """
    reference = finite("reference_n", reference_n, None)
    _require_rows("reference_n", reference, 2)
    mean = reference.mean()
    sd = reference.std(ddof=1)
    if sd <= _rounding(reference):
        raise DegenerateScores(f"reference_n: all {len(reference)} scores are {mean:g}, nothing can be calibrated")
    z: Floats = (np.asarray(score_N, dtype=np.float64) - mean) / sd
    return z


def log_uncertainty(u: NDArray[Any]) -> Floats:
    """log of the uncertainty, floored at 1e-12; NaN (not computed) stays NaN. Any shape.

    Raises:
        ValueError: a negative uncertainty.
    """
    uncertainty = np.asarray(u, dtype=np.float64)
    if (uncertainty < 0).any():
        raise ValueError(f"u: an uncertainty is a standard deviation, found {np.nanmin(uncertainty):g}")
    return np.log(np.maximum(uncertainty, FLOOR))


def standardise_samples(raw_NS: NDArray[Any], fold_N: NDArray[Any], is_seed_N: NDArray[np.bool_]) -> Floats:
    """Each SWAG sample's scores on the scale of the same fold's seeds under the same sample.

    Samples differ in scale, so that the raw spread over them measures the samples, not the image. A seed is
    standardised by the *other* seeds of its fold: its own score would pull the location towards it and flatter it.

    Shape:
        raw_NS: (N, S) scores of seeds and pool images by their own fold's samples, NaN where a pool image has none;
        fold_N: (N,) integers >= 0; is_seed_N: (N,) bool. Returns (N, S), NaN where raw_NS is.

    Raises:
        ValueError: a fold with images but fewer than 3 seeds, a seed's score that is not finite, shapes that differ.
        DegenerateScores: a fold's seeds have no spread under a sample.
    """
    raw = floats("raw_NS", raw_NS, None, None)
    is_seed = mask("is_seed_N", is_seed_N, len(raw))
    fold = _folds("fold_N", fold_N, len(raw), None)
    standard = np.full_like(raw, np.nan)
    for k in np.unique(fold):
        seeds, others = (fold == k) & is_seed, (fold == k) & ~is_seed
        seed_nS = _fold_seeds(raw[seeds], int(k))
        standard[others] = (raw[others] - seed_nS.mean(axis=0)) / seed_nS.std(axis=0, ddof=1)
        standard[seeds] = _leave_one_out(seed_nS, int(k))
    return standard


def sample_uncertainty(raw_NS: NDArray[Any], fold_N: NDArray[Any], is_seed_N: NDArray[np.bool_]) -> Floats:
    """Returns u (N,): the spread over the samples of `standardise_samples`, NaN where raw_NS is. Raises as it does."""
    u_N: Floats = standardise_samples(raw_NS, fold_N, is_seed_N).std(axis=1, ddof=1)
    return u_N


def two_sample(a: NDArray[Any], b: NDArray[Any]) -> float:
    """p-value of the two-sample Kolmogorov-Smirnov test: do the seeds' and held-out normals' scores agree?

    One-sample tests of p-values against the uniform ignore that the seeds are a sample too, and fail honest code.

    Raises:
        ValueError: an empty sample or a score that is not finite.
    """
    from scipy.stats import ks_2samp  # half a second, and no actor needs it

    first, second = finite("a", a, None), finite("b", b, None)
    _require_rows("a", first, 1)
    _require_rows("b", second, 1)
    with warnings.catch_warnings():
        # For some large sizes scipy says that it falls back to the asymptotic p-value, which is then the right one.
        warnings.simplefilter("ignore", RuntimeWarning)
        return float(ks_2samp(first, second).pvalue)


def rate_interval(rate: float, seeds: int, normals: int, level: float = 0.95) -> tuple[float, float]:
    """Where the share of normals flagged (p <= rate) should lie, for that many seeds and normals.

    Given n exchangeable seeds, the probability of a flag is Beta(l, n + 1 - l) over the draw of the seeds, with l the
    number of p-values j / (n + 1) up to `rate`; the count among m normals is then beta-binomial.

    Source: Vovk (2012), "Conditional validity of inductive conformal predictors".

    Returns:
        (low, high), the central interval of that share.

    Raises:
        ValueError: rate or level outside (0, 1), or fewer than one seed or normal.
    """
    if not 0 < rate < 1 or not 0 < level < 1:
        raise ValueError(f"rate {rate} and level {level}: each must be between 0 and 1")
    if seeds < 1 or normals < 1:
        raise ValueError(f"seeds {seeds} and normals {normals}: at least one of each is needed")
    # Counted on the very quotients that are compared with the rate: floor(rate * (n + 1)) loses one to rounding.
    flagged = int(np.count_nonzero(np.arange(1, seeds + 1) / (seeds + 1) <= rate))
    if flagged == 0:
        return 0.0, 0.0
    from scipy.stats import betabinom

    tail = (1 - level) / 2
    low, high = betabinom.ppf([tail, 1 - tail], normals, flagged, seeds + 1 - flagged)
    return float(low) / normals, float(high) / normals


def _at_least(sorted_n: Floats, score_N: Floats) -> NDArray[np.int64]:
    """How many of the sorted values are >= each score."""
    return (len(sorted_n) - np.searchsorted(sorted_n, score_N, side="left")).astype(np.int64)


def _rounding(reference: Floats) -> float:
    """The largest spread that float32 alone gives scores of this size."""
    size = np.abs(reference)
    of_roots = RESOLUTION / max(size.mean(), RESOLUTION**0.5)
    return float(max(RESOLUTION * size.max(), of_roots))


def _leave_one_out(seed_nS: Floats, fold: int) -> Floats:
    """Each row standardised by the mean and sd of the other rows, in closed form."""
    n = len(seed_nS)
    deviation_nS = seed_nS - seed_nS.mean(axis=0)
    squares_S = (deviation_nS**2).sum(axis=0)
    others_squares_nS = squares_S - deviation_nS**2 * (n / (n - 1))
    if (others_squares_nS <= ROUNDING * squares_S).any():
        raise DegenerateScores(f"fold {fold}: without one of them, its {n} seeds' scores under a sample are all alike")
    others_mean_nS = -deviation_nS / (n - 1)
    z: Floats = (deviation_nS - others_mean_nS) / np.sqrt(others_squares_nS / (n - 2))
    return z


def _fold_seeds(seed_nS: Floats, fold: int) -> Floats:
    if len(seed_nS) < 3:
        raise ValueError(f"fold {fold}: {len(seed_nS)} seeds, at least 3 are needed to standardise one by the others")
    if not np.isfinite(seed_nS).all():
        raise ValueError(f"fold {fold}: a seed's score under a sample is not finite")
    if (seed_nS.std(axis=0, ddof=1) <= RESOLUTION * np.abs(seed_nS).max(axis=0)).any():
        raise DegenerateScores(f"fold {fold}: its {len(seed_nS)} seeds' scores under a sample are all alike")
    return seed_nS


def _require_rows(name: str, values: Floats, least: int) -> None:
    if len(values) < least:
        raise ValueError(f"{name}: {len(values)} values, at least {least} needed")


def _folds(name: str, fold: NDArray[Any], count: int, folds: int | None) -> NDArray[np.int64]:
    array = np.asarray(fold)
    if array.shape != (count,) or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{name}: expected ({count},) integers, found {array.shape} {array.dtype}")
    if count and (array.min() < 0 or (folds is not None and array.max() >= folds)):
        expected = "0 or more" if folds is None else f"0..{folds - 1}"
        raise ValueError(f"{name}: folds from {array.min()} to {array.max()}, expected {expected}")
    return array.astype(np.int64)
