"""How well scores separate anomalies from normals, at which threshold, and how sure that is.

Legend: T test images, M score columns, B bootstrap draws, n0 normals, n1 anomalies. Labels are bool, True an anomaly;
larger scores are more anomalous. What cannot be computed is absent from a result, or None, never zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from swag_ray.core.array_checks import Floats, Mask, finite, mask

Figures = dict[str, float | int]

CHUNK = 2_000_000  # resampled images held at once: bounds the memory of a bootstrap on large test sets


def has_both_classes(label_T: Mask) -> bool:
    """Whether areas under curves, Youden's threshold and intervals exist."""
    return bool(label_T.any() and not label_T.all())


def roc_auc(label_T: Mask, score_T: NDArray[Any]) -> float:
    """Area under the ROC curve: the chance that an anomaly scores above a normal, ties counted half.

    Raises:
        ValueError: shapes that differ, labels not bool or of one class, a score that is not finite.
    """
    label, score = require_both_classes(label_T), finite("score_T", score_T, len(label_T))
    return float(roc_auc_score(label, score))


def pr_auc(label_T: Mask, score_T: NDArray[Any]) -> float:
    """Average precision, the step-wise area under the precision-recall curve.

    Raises:
        ValueError: as `roc_auc`.
    """
    label, score = require_both_classes(label_T), finite("score_T", score_T, len(label_T))
    return float(average_precision_score(label, score))


def confusion(label_T: Mask, flagged_T: Mask) -> Figures:
    """accuracy, precision, recall, f1, tn, fp, fn, tp of flagged images.

    precision is absent where nothing is flagged, recall without anomalies, f1 where both are undefined.

    Raises:
        ValueError: no images, shapes that differ, or arrays that are not bool.
    """
    label, flagged = mask("label_T", label_T, None), mask("flagged_T", flagged_T, None)
    if label.shape != flagged.shape or not len(label):
        raise ValueError(f"label_T {label.shape} and flagged_T {flagged.shape}: expected the same shape, not empty")
    tp, fp = int((label & flagged).sum()), int((~label & flagged).sum())
    fn, tn = int((label & ~flagged).sum()), int((~label & ~flagged).sum())
    ratios = {
        "accuracy": (tp + tn, len(label)),
        "precision": (tp, tp + fp),
        "recall": (tp, tp + fn),
        "f1": (2 * tp, 2 * tp + fp + fn),
    }
    figures: Figures = {name: above / below for name, (above, below) in ratios.items() if below}
    return figures | {"tn": tn, "fp": fp, "fn": fn, "tp": tp}


def youden(label_T: Mask, score_T: NDArray[Any]) -> Figures:
    """Figures at the threshold that maximises recall - false-positive rate: picked on the labels it is judged by.

    Flagged = score >= threshold, the highest such threshold.

    Source: Youden (1950), "Index for rating diagnostic tests".

    Returns:
        threshold and the keys of `confusion`.

    Raises:
        ValueError: as `roc_auc`.
    """
    label, score = require_both_classes(label_T), finite("score_T", score_T, len(label_T))
    false_rate, true_rate, threshold = roc_curve(label, score)
    # In whole images: of rates that differ by rounding alone, argmax would not take the highest threshold.
    anomalies = int(label.sum())
    normals = len(label) - anomalies
    index = np.rint(true_rate * anomalies) * normals - np.rint(false_rate * normals) * anomalies
    # The first point flags nothing, at a threshold of infinity: the last, which flags all, is as good and finite.
    best = 1 + int(np.argmax(index[1:]))
    return {"threshold": float(threshold[best]), **confusion(label, score >= threshold[best])}


def at_rate(label_T: Mask, p_T: NDArray[Any], rate: float) -> Figures:
    """Figures at a chosen false-positive rate: flagged = p <= rate. No label takes part in the threshold.

    Returns:
        threshold (on p: the rate itself) and the keys of `confusion`.

    Raises:
        ValueError: a rate outside (0, 1), shapes that differ, a p that is not finite.
    """
    if not 0 < rate < 1:
        raise ValueError(f"rate {rate}: must be between 0 and 1")
    return {"threshold": float(rate), **confusion(label_T, finite("p_T", p_T, len(label_T)) <= rate)}


def paired_difference(
    label_T: Mask,
    score_a_T: NDArray[Any],
    score_b_T: NDArray[Any],
    generator: np.random.Generator,
    draws: int = 2000,
    level: float = 0.95,
) -> tuple[float, float, float]:
    """ROC-AUC of a minus that of b on the same images, with a paired bootstrap interval.

    Test images are resampled by class; both scores see the same resampled images, so what both find hard cancels.

    Returns:
        (difference, low, high), percentile interval.

    Raises:
        ValueError: as `roc_auc`, or fewer than 2 draws.
    """
    label = require_both_classes(label_T)
    columns = [finite("score_a_T", score_a_T, len(label)), finite("score_b_T", score_b_T, len(label))]
    if draws < 2 or not 0 < level < 1:
        raise ValueError(f"draws {draws} and level {level}: at least 2 draws and a level between 0 and 1")
    difference = roc_auc(label, columns[0]) - roc_auc(label, columns[1])
    drawn_B2 = _bootstrap(label, columns, generator, draws)
    low, high = np.quantile(drawn_B2[:, 0] - drawn_B2[:, 1], [(1 - level) / 2, (1 + level) / 2])
    return difference, float(low), float(high)


def repeated_difference(
    label_T: Mask,
    score_a_RT: NDArray[Any],
    score_b_RT: NDArray[Any],
    generator: np.random.Generator,
    draws: int = 2000,
    level: float = 0.95,
) -> tuple[float, float, float]:
    """Mean over R splits of the ROC-AUC of a minus that of b, with a paired bootstrap interval.

    Each draw resamples the test images by class, the same for all splits and both scores, and the splits: what another
    test set of the kind and other splits would give. With few splits the interval is somewhat too narrow, as that of
    any bootstrap of few.

    Shape:
        label_T: (T,) bool; score_a_RT, score_b_RT: (R, T), the same test images under each split.

    Returns:
        (difference, low, high), percentile interval.

    Raises:
        ValueError: as `paired_difference`, or fewer than 2 splits.
    """
    label = require_both_classes(label_T)
    a_RT = finite("score_a_RT", score_a_RT, None, len(label))
    b_RT = finite("score_b_RT", score_b_RT, len(a_RT), len(label))
    splits = len(a_RT)
    if splits < 2 or draws < 2 or not 0 < level < 1:
        raise ValueError(f"splits {splits}, draws {draws} and level {level}: at least 2, 2, and between 0 and 1")
    difference = float(np.mean([roc_auc(label, a) - roc_auc(label, b) for a, b in zip(a_RT, b_RT, strict=True)]))
    area_BM = _bootstrap(label, [*a_RT, *b_RT], generator, draws)
    gain_BR = area_BM[:, :splits] - area_BM[:, splits:]
    drawn_BR = generator.integers(0, splits, size=(draws, splits))
    gain_B = np.take_along_axis(gain_BR, drawn_BR, axis=1).mean(axis=1)
    low, high = np.quantile(gain_B, [(1 - level) / 2, (1 + level) / 2])
    return difference, float(low), float(high)


def two_sided(area: float) -> float:
    """How far from chance an area is, whichever way it points."""
    return max(area, 1 - area)


def resamplings(
    normals: int, anomalies: int, generator: np.random.Generator, draws: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Test images drawn anew with replacement, each class by itself, a bounded number of draws at a time.

    Yields:
        how often each normal (b, n0) and each anomaly (b, n1) comes up in each of the next b draws.
    """
    step = max(1, CHUNK // (normals + anomalies))
    for start in range(0, draws, step):
        count = min(step, draws - start)
        yield _times(normals, count, generator), _times(anomalies, count, generator)


def _bootstrap(label_T: Mask, columns: list[Floats], generator: np.random.Generator, draws: int) -> Floats:
    """ROC-AUC of each score column on each resampling of the normals and of the anomalies; (B, M)."""
    places = [_Places(column_T[~label_T], column_T[label_T]) for column_T in columns]
    normals, anomalies = int((~label_T).sum()), int(label_T.sum())
    return np.concatenate(
        [
            np.stack([place.areas(times_normal, times_anomaly) for place in places], axis=1)
            for times_normal, times_anomaly in resamplings(normals, anomalies, generator, draws)
        ]
    )


class _Places:
    """Where each anomaly falls among the sorted normals: all of a score that its ROC-AUC depends on."""

    def __init__(self, normal: Floats, anomaly: Floats) -> None:
        self.order = np.argsort(normal, kind="stable")
        self.below = np.searchsorted(normal[self.order], anomaly, side="left")
        self.up_to = np.searchsorted(normal[self.order], anomaly, side="right")

    def areas(self, times_normal: NDArray[np.int64], times_anomaly: NDArray[np.int64]) -> Floats:
        """ROC-AUC with each image counted so many times: (B, n0) and (B, n1) to (B,)."""
        draws, normals = times_normal.shape
        passed = np.zeros((draws, normals + 1), dtype=np.int64)
        np.cumsum(times_normal[:, self.order], axis=1, out=passed[:, 1:])
        wins_twice = ((passed[:, self.below] + passed[:, self.up_to]) * times_anomaly).sum(axis=1)
        return np.asarray(wins_twice / (2.0 * normals * times_anomaly.shape[1]))


def _times(count: int, draws: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """How often each of `count` images comes up in each of the resamplings of that many; (B, count)."""
    picked = generator.integers(0, count, size=(draws, count)) + count * np.arange(draws)[:, None]
    return np.bincount(picked.ravel(), minlength=draws * count).reshape(draws, count).astype(np.int64, copy=False)


def require_both_classes(label_T: Mask) -> Mask:
    """Returns the labels as they are.

    Raises:
        ValueError: not bool, or of one class.
    """
    label = mask("label_T", label_T, None)
    if not has_both_classes(label):
        raise ValueError(f"label_T: {int(label.sum())} anomalies of {len(label)} images, both classes are needed")
    return label
