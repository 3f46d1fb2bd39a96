"""Fold models stay in the store: a run of many rounds on a large backbone must not hold all of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from swag_ray.experiment.controls import run_controls
from swag_ray.experiment.loop import incremental_loop
from swag_ray.methods.fit import Fit, StoredFolds
from swag_ray.store.store import Store
from tests.support.made_up_experiment import config, here, made_up_experiment, with_settings

pytestmark = pytest.mark.usefixtures("one_thread")


def holds(fit: Fit) -> bool:
    assert isinstance(fit.folds, StoredFolds)
    return fit.folds.held


def test_a_loop_and_its_controls_hold_no_models_when_they_are_through(tmp_path: Path) -> None:
    experiment, audit = made_up_experiment(tmp_path, config("rounds=3", method="published"))
    loop = incremental_loop(experiment)
    fits = [*(row.fit for row in loop.rows), loop.last, *run_controls(experiment, audit, loop).values()]
    assert not any(holds(fit) for fit in fits if fit.score_used != "head")
    assert len(loop.last.folds) == experiment.cohort.folds and "iterate.weight.8" in loop.last.folds[1]
    assert holds(loop.last), "who asks gets them"


def test_what_is_in_the_store_is_not_read_to_be_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment, _ = made_up_experiment(tmp_path, config("rounds=2", method="published"))
    before = incremental_loop(experiment)
    read: list[str] = []
    load = Store.load
    monkeypatch.setattr(Store, "load", lambda self, name, key: read.append(name) or load(self, name, key))
    again = incremental_loop(experiment)
    assert again.last.key == before.last.key and "bank" not in read and "fit" in read


@pytest.mark.parametrize("method", ["contrast", "published"])
def test_models_that_were_pruned_apart_from_their_scores_are_fitted_again(tmp_path: Path, method: str) -> None:
    experiment, _ = made_up_experiment(tmp_path, config("rounds=1", method=method))
    loop = incremental_loop(experiment)
    fit = loop.last if method == "published" else loop.seed_bank
    kept, work = [dict(fold) for fold in fit.folds], len(here(experiment).fits)
    experiment.store.delete(experiment.store.path("stages", "bank", fit.key, "complete.json"))
    again = incremental_loop(with_settings(experiment, experiment.config))
    assert len(here(experiment).fits) == work, "nobody asked for them yet"
    fit = again.last if method == "published" else again.seed_bank
    for fold, before in zip(fit.folds, kept, strict=True):
        assert fold.keys() == before.keys() and all(np.array_equal(fold[name], before[name]) for name in before)
    assert len(here(experiment).fits) == work + experiment.cohort.folds
