"""What a ranking allows where a clinic would use it: sensitivity at a high specificity, and the other way round.

Two questions that a ROC-AUC leaves open. A second reader may raise few false alarms: what share of the anomalies does
it then find? A triage may miss hardly any anomaly: what share of the normals can it then set aside?

Legend: T test images, B bootstrap draws, n0 normals, n1 anomalies. Labels are bool, True an anomaly; larger scores are
more anomalous.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swag_ray.core.array_checks import Floats, Mask, finite
from swag_ray.core.metrics import require_both_classes, resamplings

SPECIFICITIES = (0.90, 0.95)
SENSITIVITIES = (0.95, 0.99)


@dataclass(frozen=True)
class Share:
    """A share in [0, 1] of the images of one class, with its percentile bootstrap interval."""

    value: float
    low: float
    high: float


def operating_points(
    label_T: Mask, score_T: NDArray[Any], generator: np.random.Generator, draws: int = 2000, level: float = 0.95
) -> dict[str, Share]:
    """The highest sensitivity at each of `SPECIFICITIES`, the most normals set aside at each of `SENSITIVITIES`.

    Flagged = score >= threshold, the threshold one of the observed scores, or above them all (nothing is flagged). So
    images of one score are flagged together, and what is asked for (specificity at least .90, say) always holds.
    Set aside = normals that are not flagged. Thresholds are picked on the labels that they are judged by: this is what
    the ranking allows, not what a threshold chosen beforehand does. Each resampling of the test images, by class, picks
    its own.

    Returns:
        sensitivity_at_specificity_90, _95, normals_set_aside_at_sensitivity_95, _99.

    Raises:
        ValueError: shapes that differ, labels not bool or of one class, a score that is not finite, fewer than 2 draws.
    """
    label = require_both_classes(label_T)
    score = finite("score_T", score_T, len(label))
    if draws < 2 or not 0 < level < 1:
        raise ValueError(f"draws {draws} and level {level}: at least 2 draws and a level between 0 and 1")
    normal, anomaly = score[~label], score[label]
    # Mirrored, the second question is the first: the highest threshold that enough anomalies reach, normals below it.
    found, set_aside = _SharesAbove(normal, anomaly), _SharesAbove(-anomaly, -normal)

    def shares(times_normal: NDArray[np.int64], times_anomaly: NDArray[np.int64]) -> Floats:
        """All points (B, 4) with each image counted so many times, (B, n0) and (B, n1)."""
        above = found.at(SPECIFICITIES, times_normal, times_anomaly)
        below = set_aside.at(SENSITIVITIES, times_anomaly, times_normal)
        return np.stack(above + below, axis=1)

    value_4 = shares(np.ones((1, len(normal)), np.int64), np.ones((1, len(anomaly)), np.int64))[0]
    drawn_B4 = np.concatenate([shares(*times) for times in resamplings(len(normal), len(anomaly), generator, draws)])
    low_4, high_4 = np.quantile(drawn_B4, [(1 - level) / 2, (1 + level) / 2], axis=0)
    names = [f"sensitivity_at_specificity_{round(100 * share)}" for share in SPECIFICITIES]
    names += [f"normals_set_aside_at_sensitivity_{round(100 * share)}" for share in SENSITIVITIES]
    return {
        name: Share(float(value), float(low), float(high))
        for name, value, low, high in zip(names, value_4, low_4, high_4, strict=True)
    }


class _SharesAbove:
    """How much of one class lies above what a share of the other does not exceed.

    Args:
        spared: scores of the class that must mostly stay below the threshold.
        sought: scores of the class that should reach it.
    """

    def __init__(self, spared: Floats, sought: Floats) -> None:
        self.spared_order, self.sought_order = np.argsort(spared), np.argsort(sought)
        self.up_to = np.searchsorted(sought[self.sought_order], spared[self.spared_order], side="right")

    def at(
        self, shares: Sequence[float], times_spared: NDArray[np.int64], times_sought: NDArray[np.int64]
    ) -> list[Floats]:
        """For each of the shares: how much (B,) of the sought lies above the lowest value that at least that share of
        the spared do not exceed.
        """
        draws, sought = times_sought.shape
        counted = np.cumsum(times_spared[:, self.spared_order], axis=1)
        passed = np.zeros((draws, sought + 1), dtype=np.int64)
        np.cumsum(times_sought[:, self.sought_order], axis=1, out=passed[:, 1:])
        above = []
        for share in shares:
            place_B = (counted < math.ceil(share * counted.shape[1])).sum(axis=1)
            above.append(np.asarray((sought - passed[np.arange(draws), self.up_to[place_B]]) / sought))
        return above
