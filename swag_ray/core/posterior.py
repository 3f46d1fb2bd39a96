"""How likely each pool image is abnormal, without a label: its score's density in the pool against that in the seeds.

Conformal p-values of n seeds are never below 1 / (n + 1), so with few seeds nothing can be rejected however far out it
lies. A density ratio has no such floor: it is fitted over all scores and goes on beyond the last seed.

Two-groups model (Efron et al. 2001): scores of the pool have density f = pi0 f0 + (1 - pi0) f1, f0 that of the seeds;
eta(z) = 1 - pi0 f0(z) / f(z). f / f0 is the odds of a logistic regression of pool against seeds, corrected for how
many there are of each (Bickel et al. 2007).

Shapes: m pool images, n seeds. Scores are in the seeds' sd; larger is more anomalous.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swag_ray.core.array_checks import Floats, finite
from swag_ray.core.calibrate import conformal_p

RIDGE = 1e-2  # of the slopes, per image: a few odd scores must not bend the curve
STEPS = 100  # of Newton's method, which needs about ten
FAR = 30.0  # log odds beyond which nothing changes any more


@dataclass(frozen=True)
class Posterior:
    """The curve eta(z).

    Attributes:
        pi0: share of the pool that is like the seeds.
        coefficients: intercept and slopes of log(f / f0) on (1, z, max(z - 1, 0)).
    """

    pi0: float
    coefficients: tuple[float, float, float]

    def eta(self, z_N: NDArray[Any]) -> Floats:
        """Returns the probability of being abnormal, (N,) in [0, 1]; a lower score never gives a higher one.

        A slope below 0 counts as 0: that the pool's normals score lower than the seeds, or the seeds' tail is the
        longer one, makes no image abnormal.
        """
        intercept, slope, bend = self.coefficients
        from_bend_N = np.asarray(z_N, np.float64) - 1
        log_ratio_N = (
            intercept
            + slope
            + max(slope, 0.0) * np.minimum(from_bend_N, 0)
            + max(slope + bend, 0.0) * np.maximum(from_bend_N, 0)
        )
        return np.clip(1 - self.pi0 * np.exp(-np.clip(log_ratio_N, -FAR, FAR)), 0, 1)


def fit_posterior(seed_z_n: NDArray[Any], pool_z_m: NDArray[Any]) -> Posterior:
    """Fits eta(z) to the scores of seeds and pool.

    pi0 is Storey's (2002) at 1/2, what lies in the upper half of the p-values is nearly all normal, and one standard
    error more: m pool images fall into halves that n seeds divide, and few seeds say little of their own median. The
    ridge leaves the intercept alone; without the correction log(m / n) a clean pool has a mean eta of .58.

    Shape:
        seed_z_n: (n,), cross-fitted; pool_z_m: (m,).

    Raises:
        ValueError: no seeds, no pool, or a score that is not finite.
    """
    seed_n, pool_m = finite("seed_z_n", seed_z_n, None), finite("pool_z_m", pool_z_m, None)
    if not len(pool_m):
        raise ValueError("pool_z_m: no pool image")
    pi0 = min(1.0, storey(seed_n, pool_m) + np.sqrt(1 / len(pool_m) + 1 / len(seed_n)))
    terms = _terms(np.concatenate([seed_n, pool_m]))
    from_pool = np.repeat([0.0, 1.0], [len(seed_n), len(pool_m)])
    coefficients = _logistic(terms, from_pool, np.array([0.0, RIDGE, RIDGE]) * len(terms))
    coefficients[0] -= np.log(len(pool_m) / len(seed_n))
    return Posterior(float(pi0), (float(coefficients[0]), float(coefficients[1]), float(coefficients[2])))


def storey(seed_n: NDArray[Any], pool_m: NDArray[Any]) -> float:
    """Returns the share of the pool that is like the seeds, not bounded by 1: twice the share with a p-value above 1/2.

    Source: Storey (2002), "A direct approach to false discovery rates", at lambda = 1/2.
    """
    p_m = conformal_p(seed_n, pool_m)
    return float((1 + np.count_nonzero(p_m > 0.5)) / (len(p_m) / 2))


def _terms(z_N: Floats) -> Floats:
    return np.stack([np.ones_like(z_N), z_N, np.maximum(z_N - 1, 0)], axis=1)


def _logistic(terms_NT: Floats, target_N: Floats, ridge_T: Floats) -> Floats:
    """Coefficients of a ridge-penalised logistic regression, by Newton's method."""
    weight_T = np.zeros(terms_NT.shape[1])
    for _ in range(STEPS):
        chance_N = 1 / (1 + np.exp(-np.clip(terms_NT @ weight_T, -FAR, FAR)))
        gradient_T = terms_NT.T @ (chance_N - target_N) + ridge_T * weight_T
        curvature_TT = (terms_NT.T * (chance_N * (1 - chance_N))) @ terms_NT + np.diag(ridge_T)
        step_T = np.linalg.solve(curvature_TT + 1e-9 * np.eye(len(weight_T)), gradient_T)
        weight_T -= step_T
        if np.abs(step_T).max() < 1e-10:
            break
    return weight_T
