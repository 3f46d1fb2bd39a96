"""Heads of all folds: trained side by side, and every image scored by them under every SWAG sample.

Shapes: N train images (seed and pool), T test images, K folds, S samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from swag_ray.config import Config
from swag_ray.methods.fit import Experiment, Floats
from swag_ray.methods.folds import Scorer, score_images, score_test
from swag_ray.methods.settings import contrast_settings
from swag_ray.models.fold_head import fit_head, score_head
from swag_ray.models.tasks import FitTask
from swag_ray.store.stages import Arrays, Result, flat_folds, fold_arrays


@dataclass(frozen=True)
class Heads:
    """One head per fold, and the scores that they give.

    Attributes:
        folds: per fold, mean and sd of its seeds, weight and bias of the samples.
        raw_NS: raw logits of the train images, each by its own fold; NaN where not scored.
        s_TK: scores of the test images by each fold: the mean over the samples.
    """

    folds: tuple[Arrays, ...]
    raw_NS: Floats
    s_TK: Floats

    @property
    def s_N(self) -> Floats:
        """Scores of the train images: the mean over the samples."""
        return self.raw_NS.mean(axis=1)

    @classmethod
    def of(cls, experiment: Experiment, key: str, result: Result) -> Heads:
        """Returns the heads that the stage of this key has kept."""
        folds = kept_heads(result.arrays, experiment.cohort.folds)
        s_TK = score_test(experiment, head_scorer(experiment.config), folds, key)
        return cls(folds, result.arrays["raw_NS"].astype(np.float64), s_TK)


def fit_heads(experiment: Experiment, key: str, tasks: list[FitTask], rows: NDArray[np.int64] | None = None) -> Arrays:
    """Trains one head per fold and scores the images by them.

    Args:
        key: of the stage that keeps them.
        rows: train rows to score; None: all.

    Returns:
        What the stage keeps: the heads, and raw_NS in float32, in which logits are computed.
    """
    scorer, workers = head_scorer(experiment.config), experiment.workers
    folds = tuple(workers.map(fit_head, tasks, scorer.settings, advance=experiment.progress.advance))
    rows = np.arange(len(experiment.cohort.id_N)) if rows is None else rows
    return {"raw_NS": score_images(experiment, scorer, folds, rows, key).astype(np.float32)} | flat_folds(folds)


def kept_heads(arrays: Arrays, folds: int) -> tuple[Arrays, ...]:
    """Returns the heads, fold by fold, of what `fit_heads` gave."""
    return fold_arrays({name: array for name, array in arrays.items() if name.startswith("fold")}, folds)


def head_scorer(config: Config) -> Scorer:
    """Returns how heads score images."""
    settings = contrast_settings(config)
    return Scorer(score_head, settings, settings.scores)
