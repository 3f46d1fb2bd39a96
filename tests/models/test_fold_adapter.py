"""One fold's adapter: what it is standardised by, what its moments are of, where it goes on from, when it collapses.

The images that join the seeds are strong anomalies, so that whoever takes them for seeds, or leaves them out, is seen.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from swag_ray.core.coreset import k_center
from swag_ray.experiment.decide import AdmissionRule
from swag_ray.experiment.loop import incremental_loop
from swag_ray.features.reader import FeatureReader, Rows
from swag_ray.methods.folds import fold_tasks
from swag_ray.methods.settings import published_settings
from swag_ray.models.fold_adapter import MEAN, PublishedSettings, embed, fit_published
from swag_ray.models.fold_bank import standardise
from swag_ray.models.tasks import FitTask
from swag_ray.store.stages import Arrays
from tests.support.made_up_experiment import config, here, made_up_experiment

pytestmark = pytest.mark.usefixtures("one_thread")
STRIDES = (8, 16)


@dataclass(frozen=True)
class Case:
    """Fold 0's task: seeds, and the pool's anomalies as if they had been admitted."""

    reader: FeatureReader
    task: FitTask
    settings: PublishedSettings

    def fit(self, task: FitTask | None = None, **fit: Any) -> Arrays:
        """Fits fold 0, with other training settings."""
        return fit_published(
            self.reader, task or self.task, replace(self.settings, fit=replace(self.settings.fit, **fit))
        )

    def patches(self, rows: Rows, stride: int) -> NDArray[np.float64]:
        """All patches of these images (R, C)."""
        x = self.reader.patches(rows, STRIDES)[stride]
        return x.reshape(-1, x.shape[-1]).astype(np.float64)


@pytest.fixture
def case(store: Path) -> Case:
    settings = config(method="published")
    experiment, audit = made_up_experiment(store, settings, shift=4)
    cohort = experiment.cohort
    members = np.union1d(cohort.seeds, np.flatnonzero(audit.anomaly_N))
    task, *_ = fold_tasks(cohort, members, (0, "adapter", 1))
    assert len(task.train) > len(task.seeds)
    return Case(here(experiment).reader, task, published_settings(settings))


def started(fitted: Arrays, **changed: Any) -> Arrays:
    """What the next fit goes on from."""
    return {n: a for n, a in fitted.items() if n.startswith(("iterate.", "reference_variance"))} | changed


def test_standardisation_is_of_the_seeds_alone(case: Case) -> None:
    fitted = case.fit()
    for stride in STRIDES:
        seeds, everyone = (case.patches(rows, stride) for rows in (case.task.seeds, case.task.train))
        np.testing.assert_allclose(fitted[f"mean.{stride}"], seeds.mean(axis=0), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(fitted[f"sd.{stride}"], seeds.std(axis=0), rtol=1e-4)
        assert np.abs(everyone.mean(axis=0) - seeds.mean(axis=0)).max() > 0.05, "they must differ"


def test_batch_norm_moments_are_of_seeds_and_admitted(case: Case) -> None:
    fitted = case.fit()
    for stride in STRIDES:
        seeds, everyone = (case.patches(rows, stride) for rows in (case.task.seeds, case.task.train))
        standard = (everyone - seeds.mean(axis=0)) / seeds.std(axis=0)
        np.testing.assert_allclose(fitted[f"mu.{stride}"], standard.mean(axis=0), atol=1e-4)
        np.testing.assert_allclose(fitted[f"cov.{stride}"], np.cov(standard.T, bias=True), rtol=1e-3, atol=1e-4)
        assert np.abs(standard.mean(axis=0)).max() > 0.05, "of the seeds alone it would be none"


def test_the_first_fit_warms_up_and_no_other(case: Case) -> None:
    one, other = case.fit(warmup_epochs=1), case.fit(warmup_epochs=2)
    assert not np.array_equal(one["iterate.weight.8"], other["iterate.weight.8"])
    later = replace(case.task, start=started(one))
    again = [case.fit(later, warmup_epochs=epochs) for epochs in (1, 2)]
    assert all(np.array_equal(again[0][name], again[1][name]) for name in again[0])


def test_training_goes_on_from_the_last_iterate_and_not_from_the_mean(case: Case) -> None:
    one = case.fit(learning_rate=1e-2)
    still = case.fit(replace(case.task, start=started(one)), learning_rate=1e-12)
    for name in ("weight.8", "gamma.16", "beta.8"):
        np.testing.assert_allclose(still[f"iterate.{name}"], one[f"iterate.{name}"], atol=1e-8)
        assert np.abs(one[f"mean_weights.{name}"] - one[f"iterate.{name}"]).max() > 1e-4, "they must differ"
        # Moments restart: the mean of a fit that does not move is where it stands.
        np.testing.assert_allclose(still[f"mean_weights.{name}"], one[f"iterate.{name}"], atol=1e-7)


def test_collapse_is_measured_against_the_first_fit(case: Case) -> None:
    one = case.fit()
    assert not one["collapsed"] and 0 < one["reference_variance"] < 1
    faster = case.fit(warmup_learning_rate=1e-2, learning_rate=1e-2)
    assert faster["reference_variance"] == one["reference_variance"], "that of the start, before the first step"
    two = case.fit(replace(case.task, start=started(one)))
    assert not two["collapsed"] and two["reference_variance"] == one["reference_variance"]
    # By its own start this fit is as good as the last; by a first fit that was spread three times as wide it is not.
    wide = case.fit(replace(case.task, start=started(one, reference_variance=3 * one["reference_variance"])))
    assert wide["collapsed"] and wide["reference_variance"] == 3 * one["reference_variance"]


def test_a_fit_that_collapsed_at_once_stands_for_its_own_samples(case: Case) -> None:
    one = case.fit()
    fitted = case.fit(replace(case.task, start=started(one, reference_variance=np.array(3.0))))
    for kind in ("mean_weights", *(f"sample{s}" for s in range(case.settings.samples))):
        assert np.array_equal(fitted[f"{kind}.weight.8"], one["iterate.weight.8"])


def test_the_bank_is_picked_and_embedded_under_the_mean(case: Case) -> None:
    fitted = case.fit(learning_rate=1e-2)
    assert set(fitted["image"]) <= set(case.task.image) and len(fitted["image"]) == int(0.1 * len(case.task.image) * 16)
    position = np.searchsorted(case.task.image, fitted["image"]) * 16 + fitted["patch"]
    assert np.array_equal(case.task.image, np.sort(case.task.image))
    for stride in STRIDES:
        assert np.array_equal(fitted[f"raw.{stride}"], case.patches(case.task.train, stride)[position])
    standard = standardise(case.reader.patches(case.task.train, STRIDES), fitted)
    parts = []
    for stride in STRIDES:  # Conv, BatchNorm of the training patches, ReLU: written out
        weight, gamma, beta = (fitted[f"mean_weights.{kind}.{stride}"] for kind in ("weight", "gamma", "beta"))
        out = standard[stride].reshape(-1, weight.shape[1]).astype(np.float64) @ weight.T.astype(np.float64)
        parts.append(np.maximum((out - out.mean(axis=0)) / np.sqrt(out.var(axis=0) + 1e-5) * gamma + beta, 0))
    rows = np.concatenate(parts, axis=1)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    embedded = embed(standard, fitted, MEAN).reshape(rows.shape)
    np.testing.assert_allclose(embedded, rows, atol=2e-4)
    assert np.array_equal(k_center(embedded, len(position)), position)
    sample = embed(standard, fitted, 0).reshape(rows.shape)
    assert not np.array_equal(k_center(sample, len(position)), position), "under a sample others would be picked"


def test_every_fit_of_a_loop_goes_on_from_the_one_before(tmp_path: Path) -> None:
    """What was really given to the tasks of fits 2 and 3, and which reference variance their folds keep."""
    experiment, _ = made_up_experiment(tmp_path, config("adapter.learning_rate=0.01", "rounds=2", method="published"))
    loop = incremental_loop(experiment, AdmissionRule("random_admission", ~experiment.cohort.seed_N))
    fits = [task for name, task in here(experiment).fits if name == "fit_published"]
    of_fits = [row.fit for row in loop.rows[1:]] + [loop.last]
    folds = experiment.cohort.folds
    assert len(fits) == folds * len(of_fits)
    for i, task in enumerate(fits):
        n, k = divmod(i, folds)
        if n == 0:
            assert task.start is None
            continue
        before, first = of_fits[n - 1].folds[k], of_fits[0].folds[k]
        iterate = {name: a for name, a in before.items() if name.startswith("iterate.")}
        assert task.start is not None and task.start.keys() == iterate.keys() | {"reference_variance"}
        assert all(np.array_equal(task.start[name], a) for name, a in iterate.items())
        assert task.start["reference_variance"] == first["reference_variance"]
        assert not np.array_equal(before["iterate.weight.8"], before["mean_weights.weight.8"])
