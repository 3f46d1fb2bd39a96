"""Training tasks of one fold each, and the scores of all images that come back from fold models.

Shapes: N train images (seed and pool), T test images, K folds, S samples.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from swag_ray.features.cohort import Cohort
from swag_ray.features.reader import Rows
from swag_ray.methods.fit import Experiment, Floats
from swag_ray.models.tasks import ALL_FOLDS, FitTask, score_tasks
from swag_ray.store.stages import Arrays


def fold_tasks(
    cohort: Cohort,
    members: NDArray[np.int64],
    names: tuple[object, ...],
    *,
    abnormal: NDArray[np.int64] | None = None,
    weights: Floats | None = None,
    start: tuple[Arrays, ...] | None = None,
) -> list[FitTask]:
    """Returns one training task per fold: the members outside it, in their given order.

    Args:
        members: train rows to learn from.
        names: what the generators are derived from; the fold is added.
        abnormal: train rows among the members that a head learns as abnormal.
        weights: how much each member counts; None: all the same.
        start: fold models to go on from.
    """
    tasks = []
    for k in range(cohort.folds):
        outside = cohort.fold_N[members] != k
        image = members[outside]
        seeds = cohort.seeds[cohort.fold_N[cohort.seeds] != k]
        flags = None if abnormal is None else np.isin(image, abnormal)
        tasks.append(
            FitTask(
                fold=k,
                seeds=cohort.rows_N.take(seeds),
                train=cohort.rows_N.take(image),
                image=image,
                names=(*names, k),
                abnormal=flags,
                weight=None if weights is None else weights[outside],
                start=None if start is None else start[k],
            )
        )
    return tasks


def score_images(
    experiment: Experiment,
    work: Any,
    folds: Any,
    settings: Any,
    rows: NDArray[np.int64],
    *,
    samples: int,
    extra: tuple[Any, ...] = (),
    test: bool = True,
) -> tuple[Floats, Floats]:
    """Scores train images by their own fold's model and test images by all.

    Args:
        work: `score_*` of a module in `models`.
        folds: the fold models, or a reference to them.
        rows: train rows to score; the others get NaN.
        extra: what the work takes besides: the bank's version, the samples to score under.
        test: whether test images are scored too.

    Returns:
        (N, S) and (T, K, S) float64.
    """
    cohort = experiment.cohort
    raw_NS = np.full((len(cohort.id_N), samples), np.nan)
    raw_TKS = np.full((len(cohort.id_T), cohort.folds, samples), np.nan)
    tasks = score_tasks(cohort.rows_N.take(rows), cohort.fold_N[rows], rows)
    if test:  # first, as the long ones: every image by all folds
        everyone = np.full(len(cohort.id_T), ALL_FOLDS, np.int8)
        tasks = score_tasks(cohort.rows_T, everyone, np.arange(len(cohort.id_T))) + tasks
    for task, scores in zip(tasks, experiment.workers.map(work, tasks, folds, settings, *extra), strict=True):
        (raw_TKS if task.by_all else raw_NS)[task.position] = scores
    return raw_NS, raw_TKS


def score_own_fold(
    experiment: Experiment,
    work: Any,
    folds: Any,
    settings: Any,
    rows: Rows,
    fold_V: NDArray[np.int8],
    *,
    samples: int,
    extra: tuple[Any, ...] = (),
) -> Floats:
    """Scores features that are no image of the cohort, each by the model of the fold that it belongs to: (V, S)."""
    raw_VS = np.full((len(rows), samples), np.nan)
    tasks = score_tasks(rows, fold_V, np.arange(len(rows)))
    for task, scores in zip(tasks, experiment.workers.map(work, tasks, folds, settings, *extra), strict=True):
        raw_VS[task.position] = scores
    return raw_VS
