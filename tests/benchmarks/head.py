"""The heads of one `contrast` round, all folds and samples, against a single scikit-learn fit on the same matrix."""

from __future__ import annotations

import itertools

import numpy as np
from scipy.stats import spearmanr

from swag_ray.core.head import Scaler
from swag_ray.experiment.decide import AdmissionRule, decide
from swag_ray.methods.bank_fit import bank_fit
from swag_ray.methods.contrast_fit import contrast_fit
from swag_ray.methods.fit import TrainingSet
from tests.benchmarks.material import described, in_process, laboratory
from tests.benchmarks.measure import Bench, Row, Skip, interleaved
from tests.benchmarks.naive import logistic_regression


def measure(bench: Bench) -> list[Row]:
    # With the quick round's 40 seeds no p-value is below .024, and the usual ceiling would reject nobody.
    overrides = ("outliers.ceiling=.1",) if bench.quick else ()
    with laboratory(bench, "contrast", *overrides) as (experiment, _):
        seed_bank = bank_fit(experiment, experiment.cohort.seeds)
        rejects = decide(experiment, 0, seed_bank, None, AdmissionRule()).rejects
    experiment, _ = in_process(bench, "contrast", *overrides)
    settings = experiment.config
    cohort, none = experiment.cohort, np.array([], dtype=np.int64)
    repetition = itertools.count()

    def ours():  # type: ignore[no-untyped-def]
        return contrast_fit(experiment, 1, TrainingSet(f"repetition {next(repetition)}", none, rejects), seed_bank)

    fit = ours()  # reads and pools the features, which both sides then have in memory
    if not fit.head_on:
        raise Skip(fit.reason)
    members = np.concatenate([cohort.seeds, rejects])
    pooled = experiment.workers.reader.pooled  # type: ignore[attr-defined]
    strides, grid = settings.backbone.strides, settings.head.grid
    scaler = Scaler.fit(pooled(cohort.rows_N.take(cohort.seeds), strides, grid))
    x_ND = scaler.apply(pooled(cohort.rows_N.take(members), strides, grid))
    rejected_N = np.isin(members, rejects)
    seconds, found = interleaved(
        {"ours": ours, "one fit": lambda: logistic_regression(x_ND, rejected_N, settings.head.weight_decay)},
        bench.repetitions(3),
    )
    pool = cohort.pool
    one = found["one fit"](scaler.apply(pooled(cohort.rows_N.take(pool), strides, grid)))
    agreement = spearmanr(one, found["ours"].s_N[pool]).statistic
    what = (
        f"{described(bench)}: {len(cohort.seeds)} seeds, {len(rejects)} rejects x {x_ND.shape[1]}; "
        f"rank correlation of the two on the pool {agreement:.3f}"
    )
    name = f"{cohort.folds} folds fitted, all images scored under {settings.swag.samples} samples"
    return [Row("head", name, seconds["ours"], seconds["one fit"], against="one LogisticRegression fit", note=what)]
