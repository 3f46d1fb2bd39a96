"""How far a batch of images lies above the seeds, and what share of it is abnormal, without a label.

Another scanner moves the scores of all images, and a threshold set on the seeds flags too many. But the low end of any
batch is normals, whatever the rest is: below some score nearly all images are normal, and there the batch has the
shape of the seeds, moved by one number. With pi the share of anomalies and Q the quantile function,

    Q_batch((1 - pi) p) = a + Q_seeds(p)    for p in [.03, .6]

is fitted for the shift a and pi by least squares. p-values against the shifted seeds are called *aligned*. They need a
whole batch of images, so they are transductive: they move no ranking.

All K folds score a batch, and their scores are taken together, not averaged: an average over folds is narrower than
one fold's scores, which is what a seed has.

Shapes: n seeds, T images, K folds, P centiles, C shares of anomalies.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from swag_ray.core.array_checks import Floats, finite
from swag_ray.core.calibrate import cross_conformal_p

CENTILES_P = np.linspace(0.03, 0.6, 20)  # of the seeds: fewer images lie below, anomalies above
SHARES_C = np.arange(91) / 100  # of anomalies that are tried
RESAMPLINGS = 200
# Of the interval. Wider than 95 %, because resampling puts anomalies far away: those nearby move a fit more.
COVERAGE = 0.975


@dataclass(frozen=True)
class Alignment:
    """How a batch lies to the seeds.

    Attributes:
        shift: a, in units of the score; positive where the batch scores higher.
        contamination: pi, the share of anomalies that the fit takes off the batch's upper end.
        residual: root mean square of what the fit leaves, in the seeds' sd.
    """

    shift: float
    contamination: float
    residual: float


def align(seed_n: NDArray[np.float64], score_TK: NDArray[np.float64]) -> Alignment:
    """Fits shift and share of anomalies of a batch; of equally good shares the smallest.

    Shape:
        seed_n: (n,), n >= 2, cross-fitted; score_TK: (T, K).

    Raises:
        ValueError: fewer than two seeds, no image, or a score that is not finite.
    """
    seed, batch = finite("seed_n", seed_n, None), finite("score_TK", score_TK, None, None)
    if len(seed) < 2 or not batch.size:
        raise ValueError(f"{len(seed)} seeds and {batch.size} scores: at least two seeds and one image are needed")
    return _fitted(seed, batch)


def aligned_p(
    alignment: Alignment, seed_n: NDArray[np.float64], seed_fold_n: NDArray[np.integer], score_TK: NDArray[np.float64]
) -> Floats:
    """Returns cross-conformal p-values (T,) against the seeds moved by the shift; a shift of 0 gives those unaligned.

    Shape:
        seed_n, seed_fold_n: (n,); score_TK: (T, K).
    """
    return cross_conformal_p(np.asarray(seed_n) + alignment.shift, seed_fold_n, score_TK)


@dataclass(frozen=True)
class Spread:
    """What chance alone makes of an alignment.

    Attributes:
        low, high: the interval of the shift that covers `COVERAGE`, in units of the score.
        sd: of the shift.
        residual: that a batch like the seeds stays below in 99 of 100 cases, in the seeds' sd.
    """

    low: float
    high: float
    sd: float
    residual: float


def spread(
    alignment: Alignment,
    seed_n: NDArray[np.float64],
    images: int,
    generator: np.random.Generator,
    known: int | None = None,
) -> Spread:
    """Returns how far an alignment can be trusted: what is fitted to batches of no shift, drawn from the seeds.

    They have as many images, and as large a share that scores above all seeds, as the alignment found. That share is
    none that is below 0, so the fitted shifts are lopsided; the interval is what they leave on either side.

    Args:
        images: of the batch, T.
        known: images that the reference's place was found from, where they are fewer than its scores.
    """
    seed = finite("seed_n", seed_n, None)
    abnormal = min(images - 1, round(images * alignment.contamination))
    far_A = np.full(abnormal, seed.max() + 10 * seed.std())
    shift_B, residual_B = np.empty((2, RESAMPLINGS))
    for b in range(RESAMPLINGS):
        drawn = seed[generator.integers(len(seed), size=min(known or len(seed), len(seed)))]
        batch = np.concatenate([seed[generator.integers(len(seed), size=images - abnormal)], far_A])
        found = _fitted(drawn, batch[:, None])
        shift_B[b], residual_B[b] = found.shift, found.residual
    low, high = np.quantile(shift_B, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return Spread(
        alignment.shift - float(high), alignment.shift - float(low), float(shift_B.std(ddof=1)),
        float(np.quantile(residual_B, 0.99)),
    )  # fmt: skip


def _fitted(seed_n: Floats, score_TK: Floats) -> Alignment:
    above_CP = _quantiles(score_TK, np.outer(1 - SHARES_C, CENTILES_P)) - _quantiles(seed_n, CENTILES_P)
    residual_C = above_CP.std(axis=1)
    best = int(residual_C.argmin())
    return Alignment(float(above_CP[best].mean()), float(SHARES_C[best]), float(residual_C[best] / seed_n.std(ddof=1)))


def _quantiles(score: Floats, level: Floats) -> Floats:
    """As `np.quantile`, which sorts out a thousand levels slowly."""
    ordered = np.sort(score, axis=None)
    place = level * (len(ordered) - 1)
    below = place.astype(np.int64)
    above = np.minimum(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])
