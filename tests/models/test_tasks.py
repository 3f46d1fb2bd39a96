"""Scoring tasks: what an actor sends back is what was asked for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from swag_ray.features.reader import Rows
from swag_ray.models.tasks import ALL_FOLDS, ScoreTask, by_fold

FOLDS, SAMPLES = 3, 2


def score(k: int, index: NDArray[np.int64]) -> NDArray[np.float64]:
    """Tells fold, image and sample apart."""
    return 100.0 * k + 10 * index[:, None] + np.arange(SAMPLES)


def task(fold: list[int]) -> ScoreTask:
    where = np.arange(len(fold), dtype=np.int32)
    return ScoreTask(where.astype(np.int64), Rows(where, where), np.array(fold, np.int8))


def test_an_image_of_a_fold_comes_back_with_its_own_fold_s_scores_alone() -> None:
    found = by_fold(task([2, 0, 2, 1]), FOLDS, SAMPLES, score)
    assert found.dtype == np.float32
    assert found.tolist() == [[200, 201], [10, 11], [220, 221], [130, 131]]


def test_an_image_of_no_fold_comes_back_with_all_folds_scores() -> None:
    found = by_fold(task([ALL_FOLDS] * 2), FOLDS, SAMPLES, score)
    assert (found.shape, found.dtype) == ((2, FOLDS, SAMPLES), np.float32)
    assert found[1].tolist() == [[10, 11], [110, 111], [210, 211]]
