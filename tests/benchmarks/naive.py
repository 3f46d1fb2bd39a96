"""The textbook forms of what swag_ray.core does fast: references for tests and for speed ratios.

Shapes: N rows, M memory rows, D dimensions, K picks or neighbours.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray


def sequential_k_center(rows_ND: NDArray[np.floating], count: int, first: int = 0) -> NDArray[np.int64]:
    """Greedy k-center one pick at a time (Gonzalez 1985), the lowest index among equal distances.

    Runs in the rows' own precision: float64 as the reference, float32 as the speed to beat. `rows_ND` are the integer
    rows (exact in both).
    """
    square_N = (rows_ND**2).sum(axis=1)
    distance_N = np.full(len(rows_ND), np.inf, dtype=rows_ND.dtype)
    picks_K = np.empty(count, dtype=np.int64)
    pick = first
    for i in range(count):
        picks_K[i] = pick
        distance_N = np.minimum(distance_N, square_N + square_N[pick] - 2 * (rows_ND @ rows_ND[pick]))
        distance_N[pick] = -1  # below every distance for good: a picked row is never picked again
        pick = int(distance_N.argmax())
    return picks_K


def brute_force_knn(
    rows_MD: NDArray[np.floating], query_ND: NDArray[np.floating], neighbours: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Euclidean distances (N, K), ascending, and indices (N, K), from differences in float64."""
    index_NK = np.empty((len(query_ND), neighbours), dtype=np.int64)
    distance_NK = np.empty((len(query_ND), neighbours))
    memory_MD = rows_MD.astype(np.float64)
    for i, query_D in enumerate(query_ND.astype(np.float64)):
        distance_M = np.sqrt(((memory_MD - query_D) ** 2).sum(axis=1))
        index_NK[i] = np.argsort(distance_M, kind="stable")[:neighbours]
        distance_NK[i] = distance_M[index_NK[i]]
    return distance_NK, index_NK


def brute_force_gate(
    z_score_N: NDArray[np.floating],
    z_u_N: NDArray[np.floating],
    *,
    tau_distance: float,
    tau_uncertainty: float,
    tau_relaxed: float | None,
    budget: int,
) -> tuple[set[int], set[int], list[int]]:
    """A first round's gate with u known for every image: (passed the first, passed both, admitted in order of rank)."""
    first, both = set(), set()
    for taus in [(tau_distance, tau_uncertainty), *([(tau_relaxed, tau_relaxed)] if tau_relaxed is not None else [])]:
        first = {i for i in range(len(z_score_N)) if z_score_N[i] <= taus[0]}
        both = {i for i in first if z_u_N[i] <= taus[1]}
        if both:
            break
    ranked = sorted(both, key=lambda i: (0.7 * z_score_N[i] + 0.3 * z_u_N[i], i))
    return first, both, ranked[:budget]


def logistic_regression(
    x_ND: NDArray[np.floating], positive_N: NDArray[np.bool_], weight_decay: float
) -> Callable[[NDArray[np.floating]], NDArray[np.float64]]:
    """scikit-learn's fit of the head's own objective: mean balanced log loss + weight_decay / 2 |w|^2; gives logits."""
    from sklearn.linear_model import LogisticRegression

    strength = 1 / (len(x_ND) * weight_decay)
    return (
        LogisticRegression(C=strength, class_weight="balanced", max_iter=1000).fit(x_ND, positive_N).decision_function
    )
