"""ROC, precision-recall and false-positive-rate curves as points to draw.

Shapes: T images, V vertices of a curve (tied scores share one vertex; straight stretches are merged).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def _counts(label_T: NDArray[np.bool_], score_T: Floats) -> tuple[Floats, Floats]:
    """False and true positives at every distinct threshold, strictest first, from (0, 0)."""
    order = np.argsort(-score_T, kind="stable")
    last_of_tie = np.append(np.diff(score_T[order]) != 0, True)
    tp = np.cumsum(label_T[order])[last_of_tie].astype(np.float64)
    fp = np.cumsum(~label_T[order])[last_of_tie].astype(np.float64)
    return np.insert(fp, 0, 0.0), np.insert(tp, 0, 0.0)


def roc_curve(label_T: NDArray[np.bool_], score_T: Floats) -> tuple[Floats, Floats]:
    """(false-positive rate, true-positive rate), each (V,), from (0, 0) to (1, 1). Both classes must be there."""
    fp, tp = _counts(label_T, score_T)
    corner = np.ones(len(fp), dtype=bool)
    turn = np.diff(fp)[1:] * np.diff(tp)[:-1] != np.diff(fp)[:-1] * np.diff(tp)[1:]
    corner[1:-1] = turn
    return fp[corner] / fp[-1], tp[corner] / tp[-1]


def pr_curve(label_T: NDArray[np.bool_], score_T: Floats) -> tuple[Floats, Floats]:
    """(recall, precision), each (V,), to be drawn as steps: precision holds back to the recall before it."""
    fp, tp = _counts(label_T, score_T)
    tp, fp = tp[1:], fp[1:]
    return tp / tp[-1], tp / (tp + fp)


def flagged_share(p_N: Floats, rate_V: Floats) -> Floats:
    """Share of p <= rate, for every rate (V,)."""
    ordered = np.sort(p_N)
    return np.searchsorted(ordered, rate_V, side="right") / len(ordered)
