"""What share of a pool is abnormal, without a label: an estimate, and a bound that the truth is not below.

Two estimates: Storey's, which takes what lies in the upper half of the p-values for normal, and the share that the fit
of `alignment` takes off the pool's upper end. There is no upper bound: anomalies that look normal cannot be counted.

Shapes: n seeds, m pool images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swag_ray.core.alignment import align
from swag_ray.core.array_checks import Floats, finite
from swag_ray.core.posterior import storey

RESAMPLINGS = 200


@dataclass(frozen=True)
class Estimate:
    """Shares of anomalies in a pool.

    Attributes:
        fitted: by the fit of the pool's low end.
        storey: by Storey.
        low: one-sided 95 % lower bound: of resampled seeds and pools, 95 of 100 have both estimates above it.
    """

    fitted: float
    storey: float
    low: float


def estimate_contamination(
    seed_n: NDArray[Any],
    pool_m: NDArray[Any],
    seed_group_n: NDArray[np.integer],
    pool_group_m: NDArray[np.integer],
    generator: np.random.Generator,
) -> Estimate:
    """Estimates the share of anomalies of a pool by its cross-fitted scores.

    Args:
        seed_n, pool_m: scores.
        seed_group_n, pool_group_m: which images belong together (a patient's); they are resampled together.

    Raises:
        ValueError: fewer than two seeds, no pool image, or a score that is not finite.
    """
    seed, pool = finite("seed_n", seed_n, None), finite("pool_m", pool_m, None)
    seeds, pools = _Groups(seed_group_n), _Groups(pool_group_m)
    lower_B = [min(_both(seed[seeds.drawn(generator)], pool[pools.drawn(generator)])) for _ in range(RESAMPLINGS)]
    fitted, by_storey = _both(seed, pool)
    return Estimate(fitted, by_storey, float(np.quantile(lower_B, 0.05)))


def _both(seed_n: Floats, pool_m: Floats) -> tuple[float, float]:
    return align(seed_n, pool_m[:, None]).contamination, max(0.0, 1 - storey(seed_n, pool_m))


class _Groups:
    """Rows of each group, to draw groups with all that is in them."""

    def __init__(self, group_N: NDArray[np.integer]) -> None:
        order = np.argsort(group_N, kind="stable")
        starts = np.flatnonzero(np.diff(group_N[order])) + 1
        self.rows = np.split(order, starts)

    def drawn(self, generator: np.random.Generator) -> NDArray[np.int64]:
        """Returns rows of as many groups as there are, drawn with replacement."""
        picks = generator.integers(len(self.rows), size=len(self.rows))
        return np.concatenate([self.rows[pick] for pick in picks])
