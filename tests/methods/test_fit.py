"""What follows from a fit's scores: p-values and scores on the seeds' scale, by plain formulas."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from swag_ray.methods.fit import Fit
from tests.support.made_up_experiment import config, made_up_experiment


def test_what_follows_from_scores(tmp_path: Path) -> None:
    experiment, _ = made_up_experiment(tmp_path, config())
    cohort, rng = experiment.cohort, np.random.default_rng(1)
    train, seeds = len(cohort.id_N), cohort.seeds
    u_N = rng.gamma(2, 1, train)
    fit = Fit("key", cohort, rng.normal(size=train), u_N, rng.normal(size=(len(cohort.id_T), 3)), (), "bank")
    assert not fit.head_on and fit.reason == "" and fit.seed_raw_nS is None
    s, log_u = fit.s_N[seeds], np.log(u_N[seeds])
    np.testing.assert_allclose(fit.s_T, fit.s_TK.mean(axis=1))
    np.testing.assert_allclose(fit.z_N, (fit.s_N - s.mean()) / s.std(ddof=1))
    np.testing.assert_allclose(fit.z_T, (fit.s_TK.mean(axis=1) - s.mean()) / s.std(ddof=1))
    np.testing.assert_allclose(fit.p_N, [(1 + (s >= x).sum()) / (len(s) + 1) for x in fit.s_N])
    some = np.where(np.arange(train) % 2, u_N * 3, np.nan)
    np.testing.assert_allclose(fit.z_u(some), (np.log(some) - log_u.mean()) / log_u.std(ddof=1))
    assert np.isnan(fit.z_u(np.full(train, np.nan))).all()
