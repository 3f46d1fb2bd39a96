"""Control experiments: the same protocol with one component replaced. They read labels where their name says so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from swag_ray.config.sections import Control
from swag_ray.core.outliers import draw_rejects
from swag_ray.core.seeding import numpy_generator
from swag_ray.experiment.decide import NO_ADMISSION, AdmissionRule
from swag_ray.experiment.loop import Trajectory, incremental_loop
from swag_ray.images.audit import Audit
from swag_ray.methods.bank_fit import bank_fit
from swag_ray.methods.fit import Experiment, Fit
from swag_ray.methods.folds import fold_tasks
from swag_ray.methods.heads import Heads, fit_heads
from swag_ray.progress import Progress
from swag_ray.store.stages import Result, digest, stage_key

LABELLED: tuple[Control, ...] = ("full_train", "oracle_gate", "supervised")  # need every label of the pool
TEXTS: dict[Control, str] = {
    "seed_only": "control: seeds alone",
    "full_train": "control: all true normals of the train folder",
    "no_admission": "control: nobody admitted",
    "random_admission": "control: random admission",
    "oracle_gate": "control: a gate that admits true normals only",
    "supervised": "control: logistic regression on true labels",
}


def run_controls(experiment: Experiment, audit: Audit, trajectory: Trajectory) -> dict[str, Fit]:
    """Returns the config's controls as fits to evaluate. Those that need labels are absent without them."""
    done: dict[str, Fit] = {}
    quiet = replace(experiment, progress=Progress())  # a control's own rounds are not the run's
    known = not np.isnan(audit.label_N).any()
    for name in experiment.config.controls:
        if name in LABELLED and not known:
            continue
        with experiment.progress.phase("controls", TEXTS[name]):
            fit = _control(quiet, audit, trajectory, name)
        if fit is not None:
            done[name] = fit
    return done


def _control(experiment: Experiment, audit: Audit, trajectory: Trajectory, name: Control) -> Fit | None:
    pool_N = ~experiment.cohort.seed_N
    normal_N = pool_N & (audit.label_N == 0)
    match name:
        case "seed_only":
            return trajectory.seed_bank
        case "no_admission":
            return incremental_loop(_as_long(experiment, trajectory), NO_ADMISSION).last
        case "random_admission":
            return incremental_loop(experiment, AdmissionRule(name, allowed_N=pool_N)).last
        case "full_train":
            members = np.flatnonzero(experiment.cohort.seed_N | normal_N)
            return bank_fit(experiment, members, score_pool="members")
        case "oracle_gate":
            return incremental_loop(experiment, AdmissionRule(name, allowed_N=normal_N)).last
        case "supervised":
            return supervised_fit(experiment, audit)


def _as_long(experiment: Experiment, trajectory: Trajectory) -> Experiment:
    """The same with as many rounds as the run went through: where nobody is admitted, no gate ends the loop early."""
    rounds = trajectory.rows[-1].n
    return replace(experiment, config=experiment.config.model_copy(update={"rounds": rounds}))


def supervised_fit(experiment: Experiment, audit: Audit) -> Fit | None:
    """Returns a logistic regression on the true labels of seed + pool: the head's features, folds and training.

    It learns from at most `outliers.maximum` images of each class, drawn at random beyond, as a head from rejects: its
    rows are in an actor's memory at once. Of the train images the normals are scored, each by the model of its own
    fold, for the rate on the pool's normals. None where all anomalies are in one fold, whose model would have none to
    learn from.
    """
    cohort = experiment.cohort
    normals, anomalies = np.flatnonzero(~audit.anomaly_N), np.flatnonzero(audit.anomaly_N)
    taught, against = (_taught(experiment, images, name) for images, name in ((normals, "0"), (anomalies, "1")))
    if len(np.unique(cohort.fold_N[against])) < 2:
        return None
    reads = experiment.reads("head", "swag", "random_seed", "backbone.strides") | {"labels": digest(audit.label_N)}
    if len(taught) + len(against) < len(cohort.id_N):
        reads |= experiment.reads("outliers.maximum")
    key = stage_key("supervised", reads, [cohort.key])

    def compute() -> Result:
        tasks = fold_tasks(
            cohort, np.union1d(taught, against), (experiment.config.random_seed, "supervised"), abnormal=against
        )
        return Result(fit_heads(experiment, key, tasks, normals))

    heads = Heads.of(experiment, key, experiment.store.stage("supervised", key, compute))
    return Fit(key, cohort, heads.s_N, np.full(len(cohort.id_N), np.nan), heads.s_TK, (), "head", True)


def _taught(experiment: Experiment, images: NDArray[np.int64], label: str) -> NDArray[np.int64]:
    """Returns the images of one class that the supervised control learns from."""
    generator = numpy_generator(experiment.config.random_seed, "supervised", label)
    return draw_rejects(images, experiment.config.outliers.maximum, generator)
