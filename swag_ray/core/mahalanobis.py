"""Mahalanobis distance to a few trusted vectors of perhaps many channels, kept in a few numbers.

Shapes: N vectors, n trusted ones, C channels, R directions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

DIRECTIONS = 32  # kept at most: 512 channels take 64 KB


@dataclass(frozen=True)
class Spread:
    """A distribution.

    Attributes:
        location_C, scale_C: mean and sd of each channel.
        axes_CR: leading directions of the standardised channels, orthonormal.
        precision_R: 1 / variance along each.
        rest: 1 / variance along every other direction, a 0-d array.
    """

    location_C: NDArray[np.float32]
    scale_C: NDArray[np.float32]
    axes_CR: NDArray[np.float32]
    precision_R: NDArray[np.float32]
    rest: NDArray[np.float32]


def fit_spread(x_nC: NDArray[Any], least: float = 0.0) -> Spread:
    """Learns where trusted vectors lie.

    The covariance is that of the standardised vectors and of C pseudo-observations of independent channels. Beyond the
    leading directions it is taken as the same in all (probabilistic principal components, Tipping and Bishop 1999).

    Args:
        x_nC: trusted vectors, finite.
        least: sd of a channel at least.
    """
    x_nC = np.asarray(x_nC, dtype=np.float64)
    n, channels = x_nC.shape
    location_C, sd_C = x_nC.mean(axis=0), x_nC.std(axis=0)
    # A channel that never moved among the seeds must not make every image infinitely far.
    scale_C = np.maximum(sd_C, max(least, 0.01 * float(np.median(sd_C)), 1e-6))
    _, singular, vt = np.linalg.svd((x_nC - location_C) / scale_C, full_matrices=False)
    variance = singular**2 / n
    kept = min(DIRECTIONS, len(variance))
    others = max(channels - kept, 1)
    prior = channels / n
    return Spread(
        location_C.astype(np.float32),
        scale_C.astype(np.float32),
        vt[:kept].T.astype(np.float32),
        (1 / (variance[:kept] + prior)).astype(np.float32),
        np.array(1 / (variance[kept:].sum() / others + prior), np.float32),
    )


def spread_distance(spread: Spread, x_NC: NDArray[Any]) -> NDArray[np.float64]:
    """Returns Mahalanobis distances per root of the channels, (N,)."""
    z_NC = (np.asarray(x_NC, dtype=np.float64) - spread.location_C) / spread.scale_C
    along_NR = z_NC @ spread.axes_CR.astype(np.float64)
    beside_N = np.maximum((z_NC**2).sum(axis=1) - (along_NR**2).sum(axis=1), 0)
    squared_N = (along_NR**2 * spread.precision_R).sum(axis=1) + beside_N * spread.rest
    return np.sqrt(squared_N / z_NC.shape[1])
