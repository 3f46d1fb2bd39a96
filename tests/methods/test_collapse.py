"""Adapters that collapse: their folds have no uncertainty, and leave that of the others alone."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from swag_ray.config import Config
from swag_ray.errors import InputError
from swag_ray.experiment.loop import incremental_loop
from swag_ray.methods.settings import published_settings
from swag_ray.models.fold_adapter import PublishedSettings
from tests.support.made_up_experiment import config, made_up_experiment

pytestmark = pytest.mark.usefixtures("one_thread")


RATES = (
    0.27,
    0.25,
    0.3,
    0.35,
    0.5,
    1,
)  # at which folds collapse in the warm-up; which do, a processor's rounding decides


def warmed_up_at(rate: float) -> Config:
    overrides = (f"adapter.warmup_learning_rate={rate}", "adapter.warmup_epochs=6", "gate.tau_distance=1")
    return config("rounds=1", *overrides, method="published")


def test_a_collapsed_fold_has_no_u_and_is_no_part_of_what_u_is_measured_against(tmp_path: Path) -> None:
    for rate in RATES:
        experiment, _ = made_up_experiment(tmp_path / str(rate), warmed_up_at(rate))
        with contextlib.suppress(InputError):  # all of them did
            row = incremental_loop(experiment).rows[1]
            if row.fit.collapsed:
                break
    cohort, fit, a = experiment.cohort, row.fit, row.decision.arrays
    assert 0 < len(fit.collapsed) < cohort.folds, "this test needs some folds that collapse"
    assert all(
        np.ptp([fit.folds[k][f"sample{s}.weight.8"] for s in range(4)], axis=0).max() == 0 for k in fit.collapsed
    )
    assert "collapsed: its images have no uncertainty" in fit.reason

    gone_N = np.isin(cohort.fold_N, fit.collapsed)
    assert np.array_equal(np.isnan(fit.u_N[cohort.seeds]), gone_N[cohort.seeds])
    assert np.array_equal(~np.isnan(a["u"]), a["passed_distance"] & ~gone_N) and (a["passed_distance"] & gone_N).any()
    assert a["passed_both"][a["passed_distance"] & gone_N].all(), "a null z_u passes"
    log_u = np.log(fit.u_N[cohort.seeds][~gone_N[cohort.seeds]])
    asked_N = ~np.isnan(a["u"])
    np.testing.assert_allclose(a["z_u"][asked_N], (np.log(a["u"][asked_N]) - log_u.mean()) / log_u.std(ddof=1))
    stopped_N = asked_N & ~a["passed_both"]
    assert stopped_N.any(), "the second gate stops somebody"


def test_where_all_folds_collapse_the_adapter_is_named_and_not_the_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def collapsing(config: Config) -> PublishedSettings:
        """As the config says, but a fit has collapsed as long as its variance is not ten times what it was."""
        settings = published_settings(config)
        return replace(settings, fit=replace(settings.fit, collapse_below=10))

    monkeypatch.setattr("swag_ray.methods.published_fit.published_settings", collapsing)
    experiment, _ = made_up_experiment(tmp_path, warmed_up_at(0.2))
    with pytest.raises(InputError, match=r"^adapter: it collapsed in all 3 folds of fit 1.*adapter\.learning_rate"):
        incremental_loop(experiment)
