"""The stages that train and score: patch banks, and the fit of either method.

A fit gives every own image a score by the model of its own fold, which never saw it, and every test image one by each
fold.

Shapes: N own images (seed and pool), T test images, K folds, S samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from swag_ray import config as cfg
from swag_ray.cluster.workers import Workers
from swag_ray.config import Config
from swag_ray.core import calibrate
from swag_ray.features.cohort import Cohort
from swag_ray.progress import Progress
from swag_ray.store.stages import Arrays
from swag_ray.store.store import Store

Floats = NDArray[np.float64]

ScoreUsed = Literal["head", "bank", "seed_bank"]


@dataclass(frozen=True)
class Lab:
    """What every stage of one experiment works with."""

    config: Config
    store: Store
    cohort: Cohort
    workers: Workers
    progress: Progress

    def reads(self, *paths: str) -> dict[str, Any]:
        """Config fields for a stage key."""
        return cfg.fields(self.config, *paths)


@dataclass(frozen=True)
class Fit:
    """Scores of all images under one set of fold models.

    Attributes:
        key: the stage that holds them.
        s_N, u_N: score and uncertainty of the own images, each by its own fold; u NaN where not computed.
        s_TK: scores of the test images by each fold.
        folds: the fold models as arrays.
        score_used: whose scores these are.
        head_on: whether a head was fitted and kept (`contrast`).
        reason: why the head stayed off, or what else to warn of; "" otherwise.
        seed_raw_nS: the seeds' scores under every sample (`published`), for the uncertainty of pool images.
    """

    key: str
    s_N: Floats
    u_N: Floats
    s_TK: Floats
    folds: tuple[Arrays, ...]
    score_used: ScoreUsed
    head_on: bool = False
    reason: str = ""
    seed_raw_nS: Floats | None = None

    def p_N(self, cohort: Cohort) -> Floats:
        """Conformal p-values of the own images."""
        return calibrate.conformal_p(self.s_N[cohort.seeds], self.s_N)

    def p_T(self, cohort: Cohort) -> Floats:
        """Cross-conformal p-values of the test images."""
        return calibrate.cross_conformal_p(self.s_N[cohort.seeds], cohort.fold_N[cohort.seeds], self.s_TK)

    def z_N(self, cohort: Cohort) -> Floats:
        """Scores of the own images in units of the seeds' sd."""
        return calibrate.z_score(self.s_N[cohort.seeds], self.s_N)

    def z_T(self, cohort: Cohort) -> Floats:
        return calibrate.z_score(self.s_N[cohort.seeds], self.s_T)

    @property
    def s_T(self) -> Floats:
        """Test scores: the mean over the folds."""
        return self.s_TK.mean(axis=1)


def log_u_z(seed_u: Floats, u_N: Floats) -> Floats:
    """z_u: log uncertainty in units of the seeds' sd, NaN where u was not computed."""
    if np.isnan(u_N).all():
        return np.full(u_N.shape, np.nan)
    return calibrate.z_score(calibrate.log_uncertainty(seed_u), calibrate.log_uncertainty(u_N))
