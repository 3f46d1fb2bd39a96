"""The heads of one `contrast` round, all folds and samples, against a single scikit-learn fit on the same matrix."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
from scipy.stats import spearmanr

from swag_ray.core.head import Scaler
from swag_ray.experiment.decide import SWAG_GATE, decide
from swag_ray.methods.bank_fit import bank_fit
from swag_ray.methods.method import method_of
from tests.benchmarks.material import described, in_process, laboratory
from tests.benchmarks.measure import Bench, Row, Skip, interleaved
from tests.benchmarks.naive import logistic_regression


def measure(bench: Bench) -> list[Row]:
    with laboratory(bench, "contrast") as (experiment, _):
        method = method_of(experiment)
        first = method.first_fit(experiment, bank_fit(experiment, experiment.cohort.seeds))
        decision = decide(experiment, 0, first, None, SWAG_GATE)
    experiment, _ = in_process(bench, "contrast")
    settings = experiment.config
    cohort, rejects = experiment.cohort, decision.rejects
    repetition = itertools.count()

    def ours():  # type: ignore[no-untyped-def]
        training = replace(decision.training, decision=f"repetition {next(repetition)}")
        return method.fit(experiment, 1, training, first, first)

    fit = ours()  # reads and pools the features, which both sides then have in memory
    if not any(part.arm.name == "head" for part in fit.arms):
        raise Skip(fit.reason)
    members = np.concatenate([cohort.seeds, rejects])
    pooled = experiment.workers.reader.pooled  # type: ignore[attr-defined]
    strides, grid = settings.backbone.strides, settings.head.grid
    scaler = Scaler.fit(pooled(cohort.rows_N.take(cohort.seeds), strides, grid))
    x_ND = scaler.apply(pooled(cohort.rows_N.take(members), strides, grid))
    abnormal_N = np.isin(members, rejects)
    seconds, found = interleaved(
        {"ours": ours, "one fit": lambda: logistic_regression(x_ND, abnormal_N, settings.head.weight_decay)},
        bench.repetitions(3),
    )
    pool = cohort.pool
    one = found["one fit"](scaler.apply(pooled(cohort.rows_N.take(pool), strides, grid)))
    (head,) = (part.arm for part in found["ours"].arms if part.arm.name == "head")
    agreement = spearmanr(one, head.s_N[pool]).statistic
    what = (
        f"{described(bench)}: {len(cohort.seeds)} seeds, {len(rejects)} rejects x {x_ND.shape[1]}; "
        f"rank correlation of the two on the pool {agreement:.3f}"
    )
    name = f"{cohort.folds} folds fitted, all images scored under {settings.swag.samples} samples"
    return [Row("head", name, seconds["ours"], seconds["one fit"], against="one LogisticRegression fit", note=what)]
