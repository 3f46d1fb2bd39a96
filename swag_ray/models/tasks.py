"""Small descriptions of work that travel to the sample actors; the features themselves never do.

Shapes: n images of a task, K folds, S samples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swag_ray.features.reader import Rows

ALL_FOLDS = -1
# Images of a task, of many and of fewer: some four shards of a store that was filled in one go. Fixed, so that
# no figure depends on how many actors there are.
FEWER, LARGE_TASK, TASK = 20_000, 2048, 256


@dataclass(frozen=True)
class FitTask:
    """Train one fold's model.

    Attributes:
        fold: the fold whose images the model must not see.
        seeds: features of the trusted images outside the fold; they fix the standardisation.
        train: features of all images the model learns from.
        image: what `train` is, as cohort rows; a variant's host.
        abnormal: which of them a head learns as abnormal: rejects, variants.
        weight: how much each of them counts; None: all the same.
        start: what of the fold's last model to go on from (`published`), or None.
        names: what the task's generators are derived from.
    """

    fold: int
    seeds: Rows
    train: Rows
    image: NDArray[np.int64]
    names: tuple[object, ...]
    abnormal: NDArray[np.bool_] | None = None
    weight: NDArray[np.float64] | None = None
    start: dict[str, Any] | None = None

    def __str__(self) -> str:
        return f"fold {self.fold}, {len(self.train)} images"


@dataclass(frozen=True)
class ScoreTask:
    """Score images, each by the model of its own fold, or by all (`ALL_FOLDS`).

    Attributes:
        position: where the images' scores belong in the caller's array.
        rows: their features.
        fold: (n,) own fold of each, or ALL_FOLDS of each.
    """

    position: NDArray[np.int64]
    rows: Rows
    fold: NDArray[np.int8]

    @property
    def by_all(self) -> bool:
        """Whether every fold scores every image."""
        return bool((self.fold == ALL_FOLDS).all())

    def __str__(self) -> str:
        shards = self.rows.shard_N
        return f"{len(self.rows)} images of shards {shards.min()} to {shards.max()}"


def score_tasks(rows: Rows, fold: NDArray[np.int8], position: NDArray[np.int64]) -> list[ScoreTask]:
    """Cut images into tasks, in the caller's order.

    Shards mostly follow that order, so each is read by one task or two. They do not decide where it is cut: they lie
    otherwise where an extraction was killed, or images came later, and the last digits of scores would too.
    """
    size = TASK if len(rows) <= FEWER else LARGE_TASK
    everyone = np.arange(len(rows))
    cuts = [everyone[start : start + size] for start in range(0, len(rows), size)]
    return [ScoreTask(position[i], rows.take(i), fold[i]) for i in cuts]


def by_fold(
    task: ScoreTask, folds: int, samples: int, score: Callable[[int, NDArray[np.int64]], NDArray[Any]]
) -> NDArray[np.float32]:
    """Ask each fold's model for its images.

    Args:
        score: (fold, positions in the task) -> (images, S).

    Returns:
        (n, S), each image by its own fold; (n, K, S) of a task that all folds score.
    """
    if task.by_all:
        everyone = np.arange(len(task.rows))
        return np.stack([score(k, everyone) for k in range(folds)], axis=1).astype(np.float32, copy=False)
    out = np.empty((len(task.rows), samples), np.float32)
    for k in np.unique(task.fold):
        index = np.flatnonzero(task.fold == k)
        out[index] = score(int(k), index)
    return out
