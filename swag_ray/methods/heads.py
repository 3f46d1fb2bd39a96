"""Heads of all folds: trained side by side, and every image scored by them under every SWAG sample.

Shapes: N train images (seed and pool), T test images, V variants, K folds, S samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from swag_ray.methods.fit import Experiment, Floats
from swag_ray.methods.folds import score_images
from swag_ray.methods.settings import contrast_settings
from swag_ray.models.fold_head import fit_head, score_head
from swag_ray.models.tasks import FitTask
from swag_ray.store.stages import Arrays, Result, flat_folds, fold_arrays


@dataclass(frozen=True)
class Heads:
    """One head per fold, and the raw logits that they give.

    Attributes:
        folds: per fold, mean and sd of its seeds, weight and bias of the samples.
        raw_NS: of the train images, each by its own fold.
        raw_TKS: of the test images, by every fold.
    """

    folds: tuple[Arrays, ...]
    raw_NS: Floats
    raw_TKS: Floats

    @property
    def s_N(self) -> Floats:
        """Scores of the train images: the mean over the samples."""
        return self.raw_NS.mean(axis=1)

    @property
    def s_TK(self) -> Floats:
        """Scores of the test images by each fold."""
        return self.raw_TKS.mean(axis=2)

    def arrays(self) -> Arrays:
        """Returns the heads as a stage keeps them; float32, in which logits are computed."""
        scores = {"raw_NS": self.raw_NS.astype(np.float32), "raw_TKS": self.raw_TKS.astype(np.float32)}
        return scores | flat_folds(self.folds)

    @classmethod
    def of(cls, result: Result, folds: int) -> Heads:
        """Returns the heads that a stage has kept."""
        a = result.arrays
        models = fold_arrays({name: array for name, array in a.items() if name.startswith("fold")}, folds)
        return cls(models, a["raw_NS"].astype(np.float64), a["raw_TKS"].astype(np.float64))


def fit_heads(experiment: Experiment, tasks: list[FitTask]) -> Heads:
    """Trains one head per fold and scores seeds, pool and test images by them."""
    settings, workers = contrast_settings(experiment.config), experiment.workers
    folds = tuple(workers.map(fit_head, tasks, settings, advance=experiment.progress.advance))
    everyone = np.arange(len(experiment.cohort.id_N))
    raw_NS, raw_TKS = score_images(experiment, score_head, folds, settings, everyone, samples=settings.samples)
    return Heads(folds, raw_NS, raw_TKS)
