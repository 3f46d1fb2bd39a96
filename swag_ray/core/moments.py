"""Mean and spread of trusted rows, by which all others are standardised; of more rows than fit, block by block.

Shapes: N rows, C channels (or columns).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FLOOR = 1e-2  # of the typical sd
CONSTANT = 1e-6  # features are float16 of order 1: below this a channel does not vary


@dataclass(frozen=True)
class Moments:
    """What is kept of a block of rows.

    Attributes:
        n: rows.
        mean_C: float64.
        scatter_CC: sum of the products of deviations from the mean, float64.
    """

    n: int
    mean_C: NDArray[np.float64]
    scatter_CC: NDArray[np.float64]

    @classmethod
    def of(cls, x_NC: NDArray[Any]) -> Moments:
        """Moments of at least one row."""
        x = np.asarray(x_NC, dtype=np.float64)
        mean_C = x.mean(axis=0)
        x = x - mean_C
        return cls(len(x), mean_C, x.T @ x)

    def merge(self, other: Moments) -> Moments:
        """Moments of both blocks together.

        Source: Chan, Golub, LeVeque (1983), "Algorithms for computing the sample variance", eq. 2.1.
        """
        n = self.n + other.n
        step_C = other.mean_C - self.mean_C
        between_CC = np.outer(step_C, step_C) * (self.n * other.n / n)
        return Moments(n, self.mean_C + step_C * (other.n / n), self.scatter_CC + other.scatter_CC + between_CC)

    @property
    def covariance_CC(self) -> NDArray[np.float64]:
        """Divided by n, as numpy's var and std are."""
        return self.scatter_CC / self.n


def floored_sd(sd_C: NDArray[Any]) -> NDArray[np.float32]:
    """The sd to divide by: of a channel that the trusted rows hold nearly constant, a share of the typical one.

    Such a channel is noise. Divided by its own sd it would rule every distance and logit as soon as an image comes in
    which it varies.

    Shape:
        sd_C: (C,) float64, not negative. Returns (C,).
    """
    alive_C = sd_C > CONSTANT
    floor = FLOOR * float(np.median(sd_C[alive_C])) if alive_C.any() else 1.0
    return np.maximum(sd_C, floor).astype(np.float32)
