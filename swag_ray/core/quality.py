"""How good an auxiliary anomaly is (Perini et al. 2024, arXiv 2405.13699): its expected anomaly posterior.

    phi = (alpha0 + n p P) / (alpha0 + beta0 + n p)

a Beta(alpha0, beta0) prior updated by n p pseudo-observations, of which the share P is anomalous. p is a density proxy
by rarity among the seeds: many seeds are at least as odd as a variant that lies among them. P is the bank's score,
squashed and calibrated by the seeds: 1/2 at their 95th centile.

Shapes: n seeds, V variants.
"""

from __future__ import annotations

import numpy as np

from swag_ray.core.array_checks import Floats
from swag_ray.core.calibrate import conformal_p, z_score

PRIOR = (1.0, 1.0)  # alpha0, beta0: undecided
OBSERVATIONS = 10.0  # pseudo-observations of a variant that all seeds are at least as odd as


def anomaly_probability(seed_s_n: Floats, variant_s_V: Floats) -> Floats:
    """Returns phi of each variant (V,), in (0, 1).

    Args:
        seed_s_n: cross-fitted scores of the seeds by the bank.
        variant_s_V: held-out scores of the variants by the bank.
    """
    density_V = conformal_p(seed_s_n, variant_s_V)
    z_V = z_score(seed_s_n, variant_s_V) - float(np.quantile(z_score(seed_s_n, seed_s_n), 0.95))
    anomalous_V = 1 / (1 + np.exp(-z_V))
    alpha, beta = PRIOR
    seen_V = OBSERVATIONS * density_V
    return (alpha + seen_V * anomalous_V) / (alpha + beta + seen_V)
