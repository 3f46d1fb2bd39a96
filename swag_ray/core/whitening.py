"""Shrunk whitening: directions in which normal patches hardly vary count as much as those in which they vary a lot.

A Euclidean distance between standardised patches is ruled by the few directions that many channels share. Whitened, it
is the Mahalanobis distance that PaDiM (Defard et al. 2021) takes, here with one covariance for all places.

Shapes: N patches, C channels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def whitening(x_NC: NDArray[Any], shrinkage: float) -> NDArray[np.float32]:
    """The symmetric (ZCA) map V diag(1 / sqrt(l + shrinkage)) V^T of standardised patches, (C, C); apply as x @ map.

    Args:
        x_NC: standardised trusted patches; l and V are the eigenvalues and vectors of their covariance.
        shrinkage: variance added to every direction, in units of a standardised channel's; above 0, for directions
            without variance hold noise alone.

    Raises:
        ValueError: shrinkage not above 0, or fewer than 2 patches.
    """
    if shrinkage <= 0 or len(x_NC) < 2:
        raise ValueError(f"shrinkage {shrinkage} of {len(x_NC)} patches: above 0 and at least 2 are needed")
    x = np.asarray(x_NC, dtype=np.float64)
    centred = x - x.mean(axis=0)
    return whitening_of(centred.T @ centred / len(x), shrinkage)


def whitening_of(covariance_CC: NDArray[np.float64], shrinkage: float) -> NDArray[np.float32]:
    """As `whitening`, of the patches' covariance (C, C)."""
    values_C, vectors_CC = np.linalg.eigh(covariance_CC)
    scaled_CC = vectors_CC / np.sqrt(np.maximum(values_C, 0) + shrinkage)
    return (scaled_CC @ vectors_CC.T).astype(np.float32)
