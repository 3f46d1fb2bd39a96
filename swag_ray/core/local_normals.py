"""p-values from images that are known to be normal in the place where a detector is used.

With 100 of them or more, ranks among them: exact whatever the shift. With fewer, the seeds' shape at their mean and sd:
20 images say little of a tail, but enough of where it lies. What they leave open of mean and sd is averaged over, so
that few of them flag neither too many nor too few on average.

Shapes: m known normals, n seeds, T images, K folds, D draws.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from swag_ray.core.array_checks import Floats, finite
from swag_ray.core.calibrate import conformal_p, cross_conformal_p

FEWEST, FOR_RANKS = 20, 100  # known normals for mean and sd; for ranks
DRAWS = 200  # of mean and sd


@dataclass(frozen=True)
class Place:
    """Where the scores of a place's normals lie.

    Attributes:
        mean, sd: of one fold's scores.
        mean_error, log_sd_error: standard errors of mean and log sd.
        correlation: of these two errors.
    """

    mean: float
    sd: float
    mean_error: float
    log_sd_error: float
    correlation: float


def place_of(score_mK: NDArray[np.float64]) -> Place:
    """Returns mean and sd of known normals with their errors, by the jackknife over images.

    Raises:
        ValueError: fewer than three images, or a score that is not finite.
    """
    score = finite("score_mK", score_mK, None, None)
    m = len(score)
    if m < 3:
        raise ValueError(f"score_mK: {m} images, at least 3 needed")
    left_out = [np.delete(score, i, axis=0) for i in range(m)]
    mean_m, log_sd_m = np.array([[part.mean(), np.log(part.std())] for part in left_out]).T
    covariance = (m - 1) ** 2 / m * np.cov(mean_m, log_sd_m)
    mean_error, log_sd_error = np.sqrt(np.diag(covariance))
    return Place(
        float(score.mean()), float(score.std() * np.sqrt(m / (m - 1))), float(mean_error), float(log_sd_error),
        float(np.clip(covariance[0, 1] / max(mean_error * log_sd_error, 1e-12), -1, 1)),
    )  # fmt: skip


def place_p(
    place: Place, seed_n: NDArray[np.float64], seed_fold_n: NDArray[np.integer], score_TK: NDArray[np.float64]
) -> Floats:
    """Returns p-values (T,) against the seeds' shape at the place's mean and sd, averaged over the errors of the two.

    Shape:
        seed_n, seed_fold_n: (n,); score_TK: (T, K).
    """
    shape_n, (mean_D, sd_D) = _shape(seed_n), _draws(place)
    total_T = np.zeros(len(score_TK))
    for mean, sd in zip(mean_D, sd_D, strict=True):
        total_T += cross_conformal_p(shape_n, seed_fold_n, (np.asarray(score_TK) - mean) / sd)
    return total_T / DRAWS


def place_rates(place: Place, seed_n: NDArray[np.float64], rate: float) -> tuple[float, float]:
    """Returns between which shares of the place's normals a nominal rate flags in truth, in 90 of 100 cases."""
    shape_n, (mean_D, sd_D) = np.sort(_shape(seed_n)), _draws(place)
    # p falls to the rate at the score that this share of all draws' normals lies above.
    threshold = np.quantile(mean_D[:, None] + sd_D[:, None] * shape_n, 1 - rate)
    share_D = 1 - np.searchsorted(shape_n, (threshold - mean_D) / sd_D) / len(shape_n)
    low, high = np.quantile(share_D, [0.05, 0.95])
    return float(low), float(high)


def rank_p(known_m: NDArray[np.float64], score_TK: NDArray[np.float64]) -> Floats:
    """Returns conformal p-values (T,) against known normals, both by their mean over the folds.

    Shape:
        known_m: (m,), mean over the folds; score_TK: (T, K).
    """
    return conformal_p(known_m, np.asarray(score_TK).mean(axis=1))


def rank_rates(known: int, rate: float) -> tuple[float, float]:
    """Returns between which shares of the place's normals a nominal rate flags in truth, in 90 of 100 cases.

    Given m known normals the share is Beta(l, m + 1 - l) over their draw, l the ranks that are flagged (Vovk 2012,
    "Conditional validity of inductive conformal predictors").
    """
    flagged = int(np.count_nonzero(np.arange(1, known + 1) / (known + 1) <= rate))
    if not flagged:
        return 0.0, 0.0
    from scipy.special import betaincinv  # of scipy.stats' seconds none

    low, high = betaincinv(flagged, known + 1 - flagged, [0.05, 0.95])
    return float(low), float(high)


def _shape(seed_n: NDArray[np.float64]) -> Floats:
    seed = finite("seed_n", seed_n, None)
    return np.asarray((seed - seed.mean()) / seed.std(ddof=1))


def _draws(place: Place) -> tuple[Floats, Floats]:
    """Means and sds that the place may have, the same for every caller; each draw with its mirror image."""
    normal_2D = np.random.default_rng(0).normal(size=(2, DRAWS // 2))
    first_D, second_D = np.concatenate([normal_2D, -normal_2D], axis=1)
    second_D = place.correlation * first_D + np.sqrt(1 - place.correlation**2) * second_D
    return place.mean + place.mean_error * first_D, place.sd * np.exp(place.log_sd_error * second_D)
