"""Training tasks of one fold each, and the scores of all images that come back from fold models.

Scores of train images are part of what a fit keeps: everything is decided on them. Those of test images are a stage
`test` of their own, after the fit and the test images.

Shapes: N train images (seed and pool), T test images, K folds, S samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swag_ray.features.cohort import Cohort
from swag_ray.features.reader import Rows
from swag_ray.methods.fit import Experiment, Floats, StoredFolds
from swag_ray.models.tasks import ALL_FOLDS, FitTask, ScoreTask, score_tasks
from swag_ray.store.stages import Arrays, Result, stage_key


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


@dataclass(frozen=True)
class Scorer:
    """How the fold models of a fit score images.

    Attributes:
        work: `score_*` of a module in `models`.
        settings: what the work takes beside the fold models.
        samples: scores that a fold gives an image, S.
        extra: what else the work takes: the bank's version, the samples to score under.
    """

    work: Any
    settings: Any
    samples: int = 1
    extra: tuple[Any, ...] = ()


def score_train(experiment: Experiment, scorer: Scorer, folds: Any, rows: NDArray[np.int64]) -> Floats:
    """Scores train images, each by the model of its own fold.

    Args:
        folds: the fold models, or a reference to them.
        rows: train rows to score; the others get NaN.

    Returns:
        (N, S) float64.
    """
    return _scored(experiment, scorer, folds, _train_tasks(experiment.cohort, rows))[0]


def score_images(experiment: Experiment, scorer: Scorer, folds: Any, rows: NDArray[np.int64], key: str) -> Floats:
    """As `score_train`, and in the same go the test images, if `score_test` would have to: the models are sent once,
    and no actor waits between the two.

    Args:
        key: stands for the fold models.
    """
    cohort, store, test = experiment.cohort, experiment.store, _test_stage(experiment.cohort, key)
    missing = not store.has("test", test)
    # Test images first, as the long tasks: every image by all folds.
    tasks = (_test_tasks(cohort) if missing else []) + _train_tasks(cohort, rows)
    raw_NS, s_TK = _scored(experiment, scorer, folds, tasks)
    if missing:
        store.stage("test", test, lambda: Result({"s_TK": s_TK}))
    return raw_NS


def score_test(experiment: Experiment, scorer: Scorer, folds: Sequence[Arrays] | StoredFolds, key: str) -> Floats:
    """Scores the test images by all folds: a stage of its own, so that other test images fit nothing anew.

    Args:
        folds: the fold models; left where they are if the scores are in the store.
        key: stands for them.

    Returns:
        Mean over the samples, (T, K) float64.
    """
    cohort = experiment.cohort

    def compute() -> Result:
        return Result({"s_TK": _scored(experiment, scorer, tuple(folds), _test_tasks(cohort))[1]})

    return experiment.store.stage("test", _test_stage(cohort, key), compute).arrays["s_TK"]


def _test_stage(cohort: Cohort, key: str) -> str:
    return stage_key("test", {}, [key, cohort.test_key])


def _train_tasks(cohort: Cohort, rows: NDArray[np.int64]) -> list[ScoreTask]:
    return score_tasks(cohort.rows_N.take(rows), cohort.fold_N[rows], rows)


def _test_tasks(cohort: Cohort) -> list[ScoreTask]:
    images = len(cohort.id_T)
    return score_tasks(cohort.rows_T, np.full(images, ALL_FOLDS, np.int8), np.arange(images))


def _scored(experiment: Experiment, scorer: Scorer, folds: Any, tasks: list[ScoreTask]) -> tuple[Floats, Floats]:
    """Returns raw scores of train images (N, S) and mean ones of test images (T, K); NaN where no task asks."""
    cohort = experiment.cohort
    raw_NS = np.full((len(cohort.id_N), scorer.samples), np.nan)
    raw_TKS = np.full((len(cohort.id_T), cohort.folds, scorer.samples), np.nan)
    found = experiment.workers.map(scorer.work, tasks, folds, scorer.settings, *scorer.extra)
    for task, scores in zip(tasks, found, strict=True):
        (raw_TKS if task.by_all else raw_NS)[task.position] = scores
    return raw_NS, raw_TKS.mean(axis=2)


def score_own_fold(experiment: Experiment, scorer: Scorer, folds: Any, rows: Rows, fold_V: NDArray[np.int8]) -> Floats:
    """Scores features that are no image of the cohort, each by the model of the fold that it belongs to: (V, S)."""
    raw_VS = np.full((len(rows), scorer.samples), np.nan)
    tasks = score_tasks(rows, fold_V, np.arange(len(rows)))
    found = experiment.workers.map(scorer.work, tasks, folds, scorer.settings, *scorer.extra)
    for task, scores in zip(tasks, found, strict=True):
        raw_VS[task.position] = scores
    return raw_VS
