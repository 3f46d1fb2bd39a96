"""What every method works with and what each of its fits gives: `Experiment` and `Fit`.

Shapes: N train images (seed and pool), T test images, K folds, S samples, n seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from swag_ray import config as cfg
from swag_ray.cluster.workers import Workers
from swag_ray.config import Config
from swag_ray.core import calibrate
from swag_ray.core.fusion import Arm, fused_test, fused_train, travels
from swag_ray.features.cohort import Cohort
from swag_ray.progress import Progress
from swag_ray.store.stages import Arrays
from swag_ray.store.store import Store

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
ScoreUsed = Literal["fused", "head", "bank", "seed_bank"]


@dataclass(frozen=True)
class Experiment:
    """What every stage of one experiment works with; no label is in it."""

    config: Config
    store: Store
    cohort: Cohort
    workers: Workers
    progress: Progress

    def reads(self, *paths: str) -> dict[str, Any]:
        """Returns config fields by dotted path, for a stage key."""
        return cfg.fields(self.config, *paths)


@dataclass(frozen=True)
class TrainingSet:
    """Whom a fit learns from besides the seeds.

    Attributes:
        decision: key of the decision that chose them.
        held: train rows admitted and not evicted.
        reject_weight_N: how much each train image counts as a reject; 0 for those that are none.
    """

    decision: str
    held: NDArray[np.int64]
    reject_weight_N: Floats

    @property
    def rejects(self) -> NDArray[np.int64]:
        """Train rows that the decision rejects."""
        return np.flatnonzero(self.reject_weight_N)


class StoredFolds:
    """The fold models of a fit, which stay in the store until somebody asks for them.

    Those of `published` on a large backbone take some 200 MB, and a run has a set a round, its controls too.

    Args:
        folds: how many.
        load: reads them.
    """

    def __init__(self, folds: int, load: Callable[[], tuple[Arrays, ...]]) -> None:
        self._folds, self._load = folds, load
        self._held: tuple[Arrays, ...] | None = None

    def __len__(self) -> int:
        return self._folds

    def __getitem__(self, index: Any) -> Any:
        return self.read()[index]

    def __iter__(self) -> Iterator[Arrays]:
        return iter(self.read())

    def read(self) -> tuple[Arrays, ...]:
        """Returns the models, which are held from now on."""
        if self._held is None:
            self._held = self._load()
        return self._held

    def release(self) -> None:
        """Lets go of the models; whoever asks again reads them again."""
        self._held = None

    @property
    def held(self) -> bool:
        """Whether the models take memory."""
        return self._held is not None


@dataclass(frozen=True)
class FittedArm:
    """An arm of the fused score with the fold models that score it.

    Attributes:
        arm: scores and weight.
        folds: its fold models as arrays.
        raw_NS: scores of the train images under every sample; None for an arm that has none.
    """

    arm: Arm
    folds: tuple[Arrays, ...] | StoredFolds
    raw_NS: Floats | None = None

    def weighing(self, weight: float) -> FittedArm:
        """Returns the same with another weight."""
        return replace(self, arm=replace(self.arm, weight=weight))


@dataclass(frozen=True)
class Fit:
    """Scores of all images under one set of fold models, and what follows from them.

    Attributes:
        key: stands for what is fitted and decided on; nothing of the test images is in it.
        cohort: the images.
        s_N, u_N: score and uncertainty of the train images, each by its own fold; NaN where not computed.
        s_TK: scores of the test images by each fold, a stage of their own (`folds.score_test`).
        folds: the bank's fold models as arrays (of a control, those of what scores).
        score_used: whose scores these are.
        head_on: whether a head of the pool's rejects has a weight (`contrast`).
        reason: why the head stayed off, or what else to warn of; "" otherwise.
        arms: what the fused score is made of, its weights included (`contrast`).
        seed_raw_nS: the seeds' scores under every sample (`published`), for the uncertainty of pool images.
        collapsed: folds whose adapter collapsed (`published`): their images have no u.
    """

    key: str
    cohort: Cohort
    s_N: Floats
    u_N: Floats
    s_TK: Floats
    folds: tuple[Arrays, ...] | StoredFolds
    score_used: ScoreUsed
    head_on: bool = False
    reason: str = ""
    arms: tuple[FittedArm, ...] = ()
    seed_raw_nS: Floats | None = None
    collapsed: tuple[int, ...] = ()

    @cached_property
    def seed_s(self) -> Floats:
        """Cross-fitted scores of the seeds (n,): what every other score is measured against."""
        return self.s_N[self.cohort.seeds]

    @cached_property
    def s_T(self) -> Floats:
        """Test scores: the mean over the folds."""
        return self.s_TK.mean(axis=1)

    @cached_property
    def site(self) -> Fit:
        """The same by the site score, which leaves out the head of rejects (`fusion.travels`); without u."""
        arms = tuple(part for part in self.arms if travels(part.arm.name))
        if len(arms) == len(self.arms):
            return self
        rest, no_u = [part.arm for part in arms], np.full_like(self.u_N, np.nan)
        return replace(
            self, arms=arms, s_N=fused_train(rest), s_TK=fused_test(rest), u_N=no_u, head_on=False
        )  # fmt: skip

    @cached_property
    def p_N(self) -> Floats:
        """Conformal p-values of the train images."""
        return calibrate.conformal_p(self.seed_s, self.s_N)

    @cached_property
    def p_T(self) -> Floats:
        """Cross-conformal p-values of the test images."""
        return calibrate.cross_conformal_p(self.seed_s, self.cohort.fold_N[self.cohort.seeds], self.s_TK)

    @cached_property
    def z_N(self) -> Floats:
        """Scores of the train images in units of the seeds' sd."""
        return calibrate.z_score(self.seed_s, self.s_N)

    @cached_property
    def z_T(self) -> Floats:
        """Scores of the test images in units of the seeds' sd."""
        return calibrate.z_score(self.seed_s, self.s_T)

    def z_u(self, u_N: Floats) -> Floats:
        """Returns log uncertainties (N,) in units of the sd of the seeds that have one; NaN where u is NaN."""
        if np.isnan(u_N).all():
            return np.full(u_N.shape, np.nan)
        seed_u = self.u_N[self.cohort.seeds]
        seed_u = seed_u[~np.isnan(seed_u)]
        return calibrate.z_score(calibrate.log_uncertainty(seed_u), calibrate.log_uncertainty(u_N))
