"""Metrics of a finished loop: what it ranks and what it admitted, beside its controls. Reads fits and labels only.

Shapes: N train images (seed and pool), T test images, of which L have a label.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from swag_ray.core import alignment, calibrate, metrics, shift
from swag_ray.core.array_checks import Mask
from swag_ray.core.contamination import estimate_contamination
from swag_ray.core.gate import without_second_gate
from swag_ray.core.operating_points import operating_points
from swag_ray.core.seeding import numpy_generator
from swag_ray.core.shortcuts import shortcut_aucs
from swag_ray.experiment.loop import Round, Trajectory
from swag_ray.features.reader import FeatureReader
from swag_ray.images.audit import Audit
from swag_ray.methods.fit import Experiment, Fit, Floats
from swag_ray.methods.method import method_of
from swag_ray.record.run_metrics import (
    AdmissionGain,
    AlignedDecisions,
    ArmMetrics,
    ConformalDecisions,
    Contamination,
    Decisions,
    DetectorMetrics,
    Difference,
    OperatingPoint,
    OperatingPoints,
    RoundMetrics,
    RunMetrics,
    Totals,
)


def detector_metrics(experiment: Experiment, audit: Audit, fit: Fit) -> DetectorMetrics:
    """Ranking and decisions of one detector on the labelled test images, and how its p-values hold on normals.

    What test images of one class cannot tell is absent; without a labelled one, all but the rates on the pool.
    """
    rate = experiment.config.calibration.false_positive_rate
    cohort, known = experiment.cohort, audit.known_T
    anomaly_L, s_L, p_L = audit.anomaly_T[known], fit.s_T[known], fit.p_T[known]
    normals = int((~anomaly_L).sum())
    conformal = ConformalDecisions(**_decided(anomaly_L, p_L, rate), rate_nominal=rate)
    if normals:
        conformal.rate_test_normals = float((p_L[~anomaly_L] <= rate).mean())
        conformal.rate_interval = list(calibrate.rate_interval(rate, len(cohort.seeds), normals))
    pool_normal = np.flatnonzero(~cohort.seed_N & (audit.label_N == 0))
    if len(pool_normal) and not np.isnan(fit.s_N[pool_normal]).any():
        p = calibrate.conformal_p(fit.seed_s, fit.s_N[pool_normal])  # anomalies may have no score
        conformal.rate_pool_normals = float((p <= rate).mean())
    conformal.aligned = _aligned(fit, known, anomaly_L, rate)
    if not metrics.has_both_classes(anomaly_L):
        return DetectorMetrics(conformal=conformal)
    # The same resamplings for every detector, so that their intervals can be compared.
    generator = numpy_generator(experiment.config.random_seed, "operating points")
    points = operating_points(anomaly_L, s_L, generator)
    return DetectorMetrics(
        roc_auc=metrics.roc_auc(anomaly_L, s_L),
        pr_auc=metrics.pr_auc(anomaly_L, s_L),
        youden=Decisions.model_validate(metrics.youden(anomaly_L, s_L)),
        conformal=conformal,
        operating_points=OperatingPoints(**{name: OperatingPoint(**vars(share)) for name, share in points.items()}),
    )


OF_ONE_CLASS = {False: ("threshold", "tn", "fp"), True: ("threshold", "recall", "fn", "tp")}


def _decided(anomaly_L: Mask, p_L: Floats, rate: float) -> dict[str, Any]:
    """What is flagged at a rate; of images of one class what says something of it, nothing without images."""
    if not len(anomaly_L):
        return {}
    decided: dict[str, Any] = metrics.at_rate(anomaly_L, p_L, rate)
    if metrics.has_both_classes(anomaly_L):
        return decided
    return {name: decided[name] for name in OF_ONE_CLASS[bool(anomaly_L[0])]}


def _aligned(fit: Fit, known: NDArray[np.int64], anomaly_L: Mask, rate: float) -> AlignedDecisions:
    """What p-values of the site score flag that are aligned by all test images, those without a label too."""
    if len(fit.s_TK) < shift.FEWEST:
        return AlignedDecisions()
    cohort, site = fit.cohort, fit.site
    found = alignment.align(site.seed_s, site.s_TK)
    p_T = alignment.aligned_p(found, site.seed_s, cohort.fold_N[cohort.seeds], site.s_TK)
    flagged_L = p_T[known] <= rate
    out = AlignedDecisions(
        shift=found.shift / float(site.seed_s.std(ddof=1)),
        contamination=found.contamination,
        residual=found.residual,
    )
    if not anomaly_L.all():
        out.rate_test_normals = float(flagged_L[~anomaly_L].mean())
    if anomaly_L.any():
        out.recall = float(flagged_L[anomaly_L].mean())
    return out


def evaluate(
    experiment: Experiment,
    audit: Audit,
    trajectory: Trajectory,
    controls: dict[str, Fit],
    final_bank: Fit,
    reader: FeatureReader,
) -> RunMetrics:
    """All of metrics.json but warnings, dataset and what a clock says: deterministic, absent where a label is missing.

    Args:
        final_bank: the bank over seed + admitted, for the arm `bank`.
        reader: for the thumbnails and statistics of the shortcut controls.
    """
    last = trajectory.last
    out = RunMetrics(
        baselines={name: detector_metrics(experiment, audit, fit) for name, fit in controls.items()},
        incremental=detector_metrics(experiment, audit, last),
        arms=_arms(audit, last, final_bank),
        delta_vs_seed_only=delta(experiment, audit, last, trajectory.seed_bank),
        rounds=[round_metrics(experiment, audit, row) for row in trajectory.rows],
        totals=totals(audit, trajectory),
        shortcuts=shortcuts(experiment, audit, reader),
    )
    if (without := controls.get("no_admission")) is not None:
        out.delta_vs_no_admission = admission_gain(experiment, audit, last, without)
    out.incremental.score_used = last.score_used
    if (told := shift.shift_of(last.site.seed_s, last.site.s_TK)) is not None:
        out.incremental.conformal.aligned.doubt = told.doubt
    out.contamination = _contamination(experiment, audit, last)
    kinds, normal_T = sorted(set(audit.kind_T[audit.anomaly_T]) - {""}), audit.label_T == 0
    if kinds and normal_T.any():
        out.roc_auc_by_kind = {
            kind: metrics.roc_auc(audit.anomaly_T[on], last.s_T[on])
            for kind in kinds
            for on in [normal_T | (audit.anomaly_T & (audit.kind_T == kind))]
        }
    return out


def delta(experiment: Experiment, audit: Audit, fit: Fit, reference: Fit) -> Difference:
    """ROC-AUC less that of a reference, paired bootstrap over the labelled test images; empty with one class."""
    # The same resamplings whatever the reference is.
    generator, known = numpy_generator(experiment.config.random_seed, "bootstrap"), audit.known_T
    if not metrics.has_both_classes(audit.anomaly_T[known]):
        return Difference()
    difference, low, high = metrics.paired_difference(
        audit.anomaly_T[known], fit.s_T[known], reference.s_T[known], generator
    )
    return Difference(roc_auc=difference, low=low, high=high)


def admission_gain(experiment: Experiment, audit: Audit, fit: Fit, without: Fit) -> AdmissionGain:
    """What admission added to a fit, against the same loop without it."""
    same = np.array_equal(fit.s_TK, without.s_TK)
    return AdmissionGain(**delta(experiment, audit, fit, without).plain(), same_scores=same)


def round_metrics(experiment: Experiment, audit: Audit, row: Round) -> RoundMetrics:
    """One row of `rounds`; audit figures are absent where the pool's labels are unknown."""
    cohort, fit, a = experiment.cohort, row.fit, row.decision.arrays
    pool, known = cohort.pool, not np.isnan(audit.label_N).any()
    anomaly_N = audit.anomaly_N
    out = RoundMetrics(
        round=row.n,
        candidates=int(a["candidate"].sum()),
        passed_distance=int(a["passed_distance"].sum()),
        passed_both=int(a["passed_both"].sum()),
        admitted=int(a["admitted"].sum()),
        evicted=int(a["evicted"].sum()),
        relaxed=row.decision.relaxed,
        roc_auc=_roc_auc(audit, fit.s_T),
    )
    picks_rejects = method_of(experiment).picks_rejects
    if picks_rejects:
        out.head_on, out.rejects = fit.head_on, len(row.decision.rejects)
        out.head_weight = next((part.arm.weight for part in fit.arms if part.arm.name == "head"), 0.0)
    if not known:
        return out
    out.admitted_anomalies = int((a["admitted"] & anomaly_N).sum())
    if picks_rejects and len(row.decision.rejects):
        out.rejects_purity = float(anomaly_N[row.decision.rejects].mean())
    if a["passed_distance"].any() and experiment.config.gate.budget:
        picked = without_second_gate(fit.z_N, a["passed_distance"], experiment.config.gate.budget)
        out.purity_without_second_gate = float((~anomaly_N[picked]).mean())
    normals = pool[~anomaly_N[pool]]
    if len(normals):
        out.ks_seed_vs_pool_normals = calibrate.two_sample(fit.s_N[cohort.seeds], fit.s_N[normals])
    if metrics.has_both_classes(anomaly_N[pool]):
        out.pool_roc_auc = metrics.roc_auc(anomaly_N[pool], fit.s_N[pool])
    return out


def _contamination(experiment: Experiment, audit: Audit, last: Fit) -> Contamination:
    """The share of anomalies in the pool: by its labels where they are known, and without them."""
    cohort, out = experiment.cohort, Contamination()
    if not np.isnan(audit.label_N[cohort.pool]).any():
        out.true = float(audit.anomaly_N[cohort.pool].mean())
    found = estimate_contamination(
        last.seed_s, last.s_N[cohort.pool], cohort.group_N[cohort.seeds], cohort.group_N[cohort.pool],
        numpy_generator(experiment.config.random_seed, "contamination"),
    )  # fmt: skip
    out.estimate, out.fitted, out.low = found.storey, found.fitted, found.low
    return out


def totals(audit: Audit, trajectory: Trajectory) -> Totals:
    """What the loop admitted in all; `admitted` is what is held at the end."""
    a = trajectory.decision.arrays
    held, ever = a["held"], a["ever"]
    out = Totals(
        admitted=int(held.sum()),
        ever_admitted=int(ever.sum()),
        evicted=int((ever & ~held).sum()),
        exhausted=trajectory.exhausted,
        labels_used=0,
    )
    if not np.isnan(audit.label_N).any():
        out.admitted_anomalies = int((held & audit.anomaly_N).sum())
        out.ever_admitted_anomalies = int((ever & audit.anomaly_N).sum())
        if held.any():
            out.purity = float((~audit.anomaly_N[held]).mean())
    return out


def shortcuts(experiment: Experiment, audit: Audit, reader: FeatureReader) -> dict[str, float]:
    """What trivial properties of the files would score: reported, never used. Empty with test images of one class."""
    cohort, seeds, known = experiment.cohort, experiment.cohort.seeds, audit.known_T
    if not metrics.has_both_classes(audit.anomaly_T[known]):
        return {}
    test = reader.statistics(cohort.rows_T.take(known), audit.bytes_T[known])
    seed = reader.statistics(cohort.rows_N.take(seeds), audit.bytes_N[seeds])
    return shortcut_aucs(audit.anomaly_T[known], test, seed)


def _arms(audit: Audit, last: Fit, final_bank: Fit) -> dict[str, ArmMetrics]:
    """What each part of the score would rank alone."""

    def ranks(s_TK: Floats) -> float | None:
        return _roc_auc(audit, s_TK.mean(axis=1))

    if not last.arms:
        return {"bank": ArmMetrics(roc_auc=ranks(final_bank.s_TK))}
    arms = {
        part.arm.name: ArmMetrics(roc_auc=ranks(part.arm.s_TK), weight=part.arm.weight, reason=part.arm.reason or None)
        for part in last.arms
    }
    return arms | {"fused": ArmMetrics(roc_auc=ranks(last.s_TK))}


def _roc_auc(audit: Audit, s_T: Floats) -> float | None:
    """ROC-AUC of test scores (T,) on the labelled images; None where they are of one class."""
    anomaly_L = audit.anomaly_T[audit.known_T]
    return metrics.roc_auc(anomaly_L, s_T[audit.known_T]) if metrics.has_both_classes(anomaly_L) else None
