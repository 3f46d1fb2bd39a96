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
from swag_ray.core import calibrate, outliers
from swag_ray.core.head import HeadSettings
from swag_ray.core.schedule import AdapterSettings
from swag_ray.core.seeding import numpy_generator
from swag_ray.data.cohort import Cohort
from swag_ray.methods.contrast import ContrastSettings, fit_head, score_head
from swag_ray.methods.patch_bank import BankSettings, fit_bank, score_bank
from swag_ray.methods.tasks import ALL_FOLDS, FitTask, score_tasks
from swag_ray.progress import Progress
from swag_ray.stages import Arrays, Result, Store, fold_arrays, stage_key

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


def bank_settings(config: Config) -> BankSettings:
    return BankSettings(
        config.memory.strides,
        config.memory.coreset_ratio,
        config.memory.whitening,
        config.score.neighbours,
        config.score.top_fraction,
        config.memory.max_rows,
    )


def contrast_settings(config: Config) -> ContrastSettings:
    h = config.head
    fit = HeadSettings(
        learning_rate=h.learning_rate, weight_decay=h.weight_decay, warmup_epochs=h.warmup_epochs,
        swag_epochs=h.swag_epochs, max_columns=config.swag.max_columns, collect_every=config.swag.collect_every,
    )  # fmt: skip
    return ContrastSettings(config.backbone.strides, h.grid, config.swag.samples, fit)


def adapter_settings(config: Config) -> AdapterSettings:
    a = config.adapter
    return AdapterSettings(
        warmup_epochs=a.warmup_epochs, round_epochs=a.round_epochs, warmup_learning_rate=a.warmup_learning_rate,
        learning_rate=a.learning_rate, max_columns=config.swag.max_columns, collect_every=config.swag.collect_every,
    )  # fmt: skip


def patch_bank_fit(
    lab: Lab, members: NDArray[np.int64], decision: str | None = None, *, score_pool: bool = True
) -> Fit:
    """Plain PatchCore, one bank a fold, over these own images: the seed-only bank, the grown bank, a control.

    Args:
        members: own rows that the banks may hold.
        decision: the decision that admitted them, for the bank actor to check; None for seeds or a control.
        score_pool: whether pool images are scored too (only row 0 gates on them).
    """
    cohort, settings = lab.cohort, bank_settings(lab.config)
    reads = lab.reads("memory", "score") | {"members": members.tolist(), "score_pool": score_pool}
    key = stage_key("bank", reads, [cohort.key])

    def compute() -> Result:
        tasks = fold_tasks(lab, members, ("bank",))
        folds = lab.workers.publish(fit_bank, tasks, settings, version=key, decision=decision)
        own = np.arange(len(cohort.id_N)) if score_pool else cohort.seeds
        s_NS, s_TKS = score_images(lab, score_bank, folds, settings, own, samples=1, extra=(key,))
        return Result({"s_N": s_NS[:, 0], "s_TK": s_TKS[:, :, 0]})

    result = lab.store.stage("scores", key, compute)
    rows = lab.store.load("bank", key)
    if rows is None:  # damaged or pruned apart from its scores: the same picks again
        folds = lab.workers.publish(
            fit_bank, fold_tasks(lab, members, ("bank",)), settings, version=key, decision=decision
        )
    else:
        folds = fold_arrays(rows.arrays, cohort.folds)
    null_N = np.full(len(cohort.id_N), np.nan)
    return Fit(key, result.arrays["s_N"], null_N, result.arrays["s_TK"], folds, "seed_bank")


def contrast_fit(
    lab: Lab, n: int, decision: str, held: NDArray[np.int64], rejects: NDArray[np.int64], seed_bank: Fit
) -> Fit:
    """Fit n of `contrast`: the head anew on seed + admitted against the last row's rejects, or the seed bank's scores.

    Args:
        decision: key of the decision whose admitted images and rejects these are.
        held, rejects: own rows.
        seed_bank: row 0, whose figures stand where the head stays off.
    """
    cohort = lab.cohort
    reads = lab.reads("head", "swag", "outliers", "random_seed") | {"round": n}
    key = stage_key("fit", reads, [cohort.key, seed_bank.key, decision])
    result = lab.store.stage("fit", key, lambda: _fit_heads(lab, n, held, rejects))
    if not result.info["head_on"]:
        reason = f"head off: {result.info['reason']}"
        return Fit(key, seed_bank.s_N, seed_bank.u_N, seed_bank.s_TK, seed_bank.folds, "seed_bank", False, reason)
    arrays = result.arrays
    folds = fold_arrays({name: a for name, a in arrays.items() if name.startswith("fold")}, cohort.folds)
    return Fit(key, arrays["s_N"], arrays["u_N"], arrays["s_TK"], folds, "head", True)


def _fit_heads(lab: Lab, n: int, held: NDArray[np.int64], rejects: NDArray[np.int64]) -> Result:
    cohort, config = lab.cohort, lab.config
    rule = config.outliers
    pool, seeds = len(cohort.pool), len(cohort.seeds)
    allowed, reason = outliers.enough_rejects(len(rejects), pool, seeds, fdr=rule.fdr, minimum=rule.minimum)
    if allowed and len(np.unique(cohort.fold_N[rejects])) < 2:
        allowed, reason = False, "all rejects are in one fold, whose model would have none to learn from"
    if not allowed:
        return Result({}, {"head_on": False, "reason": reason})
    drawn = outliers.draw_rejects(rejects, rule.maximum, numpy_generator(config.random_seed, "rejects", n))
    settings = contrast_settings(config)
    trusted = np.concatenate([cohort.seeds, np.setdiff1d(held, cohort.seeds)])
    members = np.concatenate([trusted, drawn])
    tasks = fold_tasks(lab, members, (config.random_seed, "head", n), rejected=drawn)
    folds = tuple(lab.workers.map(fit_head, tasks, settings, advance=lab.progress.advance))
    own = np.arange(len(cohort.id_N))
    raw_NS, raw_TKS = score_images(lab, score_head, folds, settings, own, samples=settings.samples)
    s_N = raw_NS.mean(axis=1)
    allowed, reason = outliers.tells_apart(s_N[cohort.seeds], s_N[drawn])
    if not allowed:
        return Result({}, {"head_on": False, "reason": reason})
    u_N = calibrate.standardise_samples(raw_NS, cohort.fold_N, cohort.seed_N).std(axis=1, ddof=1)
    models = {f"fold{k}.{name}": a for k, fold in enumerate(folds) for name, a in fold.items()}
    scores = {"s_N": s_N, "u_N": u_N, "s_TK": raw_TKS.mean(axis=2)}
    return Result(scores | models, {"head_on": True, "reason": ""})


def fold_tasks(
    lab: Lab,
    members: NDArray[np.int64],
    names: tuple[object, ...],
    *,
    rejected: NDArray[np.int64] | None = None,
    start: tuple[Arrays, ...] | None = None,
) -> list[FitTask]:
    """One training task a fold: the members outside it, in their given order.

    Args:
        members: own rows to learn from.
        names: what the generators are derived from; the fold is added.
        rejected: own rows among the members that are rejects.
        start: fold models to go on from.
    """
    cohort, tasks = lab.cohort, []
    for k in range(cohort.folds):
        image = members[cohort.fold_N[members] != k]
        seeds = cohort.seeds[cohort.fold_N[cohort.seeds] != k]
        flags = None if rejected is None else np.isin(image, rejected)
        tasks.append(
            FitTask(
                fold=k,
                seeds=cohort.rows_N.take(seeds),
                train=cohort.rows_N.take(image),
                image=image,
                names=(*names, k),
                rejected=flags,
                start=None if start is None else start[k],
            )
        )
    return tasks


def score_images(
    lab: Lab,
    work: Any,
    folds: Any,
    settings: Any,
    own: NDArray[np.int64],
    *,
    samples: int,
    extra: tuple[Any, ...] = (),
    test: bool = True,
) -> tuple[Floats, Floats]:
    """Score own images by their own fold's model and test images by all.

    Args:
        work: `score_*` of a method.
        folds: the fold models, or a reference to them.
        own: own rows to score; the others get NaN.
        extra: what the method's work takes besides: the bank's version, the samples to score under.

    Returns:
        (N, S) and (T, K, S) float64.
    """
    cohort = lab.cohort
    raw_NS = np.full((len(cohort.id_N), samples), np.nan)
    raw_TKS = np.full((len(cohort.id_T), cohort.folds, samples), np.nan)
    tasks = score_tasks(cohort.rows_N.take(own), cohort.fold_N[own], own)
    if test:  # first, as the long ones: every image by all folds
        everyone = np.full(len(cohort.id_T), ALL_FOLDS, np.int8)
        tasks = score_tasks(cohort.rows_T, everyone, np.arange(len(cohort.id_T))) + tasks
    for task, scores in zip(tasks, lab.workers.map(work, tasks, folds, settings, *extra), strict=True):
        if task.fold[0] == ALL_FOLDS:
            raw_TKS[task.position] = scores
        else:
            raw_NS[task.position] = scores[np.arange(len(scores)), task.fold]
    return raw_NS, raw_TKS
