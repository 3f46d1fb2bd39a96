"""From memory bank distances to an image's score (Roth et al. 2022, sections 3.3 and 4.1, with means for maxima).

Shapes: N images, P patches, D dimensions.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from swag_ray.core.knn import Index

QUERIES = 1 << 16  # patches searched at a time, to bound memory


def patch_distances(index: Index, query_NPD: NDArray[np.float32], neighbours: int) -> NDArray[np.float32]:
    """Mean Euclidean distance of every patch to its `neighbours` nearest memory rows.

    Returns:
        (N, P), in the units of the rows; on L2-normalised rows between 0 and 2.

    Raises:
        InputError: more neighbours than the bank has rows.
    """
    images, patches, dim = query_NPD.shape
    flat_QD = query_NPD.reshape(-1, dim)
    mean_Q = np.empty(len(flat_QD), dtype=np.float32)
    for start in range(0, len(flat_QD), QUERIES):
        distance_QK, _ = index.search(flat_QD[start : start + QUERIES], neighbours)
        mean_Q[start : start + QUERIES] = distance_QK.mean(axis=1)
    return mean_Q.reshape(images, patches)


def top_patches(patches: int, top_fraction: float) -> int:
    """How many patches the image score averages: ceil(q P), at least one.

    Raises:
        ValueError: a fraction outside (0, 1].
    """
    if not 0 < top_fraction <= 1:
        raise ValueError(f"top_fraction is {top_fraction}, must be above 0 and at most 1")
    return max(1, math.ceil(round(top_fraction * patches, 9)))  # .07 * 100 is 7.000000000000001


def image_score(distance_NP: NDArray[np.float32], top_fraction: float) -> NDArray[np.float64]:
    """Image scores: the mean of the ceil(q P) largest patch distances.

    Args:
        distance_NP: patch distances.
        top_fraction: q, above 0 and at most 1.

    Returns:
        (N,) float64; larger is more anomalous.
    """
    patches = distance_NP.shape[1]
    top = top_patches(patches, top_fraction)
    # Sorted, not partitioned: a sum's order, and with it the last digit, must not depend on the other patches.
    largest_NT = np.sort(distance_NP, axis=1)[:, patches - top :]
    score_N: NDArray[np.float64] = largest_NT.mean(axis=1, dtype=np.float64)
    return score_N
