"""The scores and uncertainties of a round, on made-up features: recomputed from what each fold's fit holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from swag_ray.core import calibrate
from swag_ray.experiment.loop import incremental_loop
from swag_ray.experiment.tables import rounds_table
from swag_ray.methods.settings import bank_settings
from swag_ray.models import fold_adapter as published
from swag_ray.models.fold_bank import distances
from tests.support.made_up_experiment import TOP, config, here, made_up_experiment

pytestmark = pytest.mark.usefixtures("one_thread")
METHODS = ("contrast", "published")


@pytest.mark.parametrize("method", METHODS)
def test_own_images_are_scored_by_their_fold_and_test_images_by_all(store: Path, method: str) -> None:
    experiment, _ = made_up_experiment(store, config("rounds=1", method=method))
    fit = incremental_loop(experiment).rows[1].fit
    cohort = experiment.cohort
    assert fit.s_N.shape == (len(cohort.id_N),) and np.isfinite(fit.s_N).all()
    assert fit.s_TK.shape == (len(cohort.id_T), cohort.folds) and np.isfinite(fit.s_TK).all()
    np.testing.assert_allclose(fit.s_T, fit.s_TK.mean(axis=1))
    p_T = [
        (1 + sum(fit.s_N[i] >= fit.s_TK[t, cohort.fold_N[i]] for i in cohort.seeds)) / (len(cohort.seeds) + 1)
        for t in range(len(cohort.id_T))
    ]
    np.testing.assert_allclose(fit.p_T, p_T)


def test_a_head_averages_raw_logits_and_spreads_standardised_ones(tmp_path: Path) -> None:
    """And the fused score is its share of the head, in the seeds' sd, and the rest of the bank."""
    experiment, _ = made_up_experiment(tmp_path, config("rounds=1"))
    row = incremental_loop(experiment).rows[1]
    assert row.fit.head_on and row.fit.score_used == "fused"
    cohort, fit, seeds = experiment.cohort, row.fit, experiment.cohort.seeds
    bank, head = fit.arms
    assert (bank.arm.name, head.arm.name) == ("bank", "head")
    raw = np.full((len(cohort.id_N), experiment.config.swag.samples), np.nan)
    reader = here(experiment).reader
    for k, fold in enumerate(head.folds):
        own = np.flatnonzero(cohort.fold_N == k)
        pooled = reader.pooled(cohort.rows_N.take(own), (8, 16, 32), 4).astype(np.float64)
        x = np.clip((pooled - fold["mean"]) / fold["sd"], -8, 8)
        raw[own] = x @ fold["weight"].T.astype(np.float64) + fold["bias"]
    np.testing.assert_allclose(head.arm.s_N, raw.mean(axis=1), rtol=1e-3, atol=1e-4)
    weight = head.arm.weight
    assert 0 < weight < 1 and bank.arm.weight == pytest.approx(1 - weight)
    s_N = sum(
        w * (s - s[seeds].mean()) / s[seeds].std(ddof=1)
        for w, s in ((1 - weight, bank.arm.s_N), (weight, raw.mean(axis=1)))
    )
    np.testing.assert_allclose(fit.s_N, s_N, rtol=1e-3, atol=1e-3)
    standard = weight * calibrate.standardise_samples(raw, cohort.fold_N, cohort.seed_N)
    np.testing.assert_allclose(fit.u_N, standard.std(axis=1, ddof=1), rtol=1e-2, atol=1e-4)


def test_published_asks_for_u_of_those_who_pass_the_first_gate_alone(tmp_path: Path) -> None:
    """Each sample scores against the bank embedded by that sample; relaxing asks for the ones it adds."""
    experiment, audit = made_up_experiment(tmp_path, config("rounds=2", "gate.tau_distance=-0.3", method="published"))
    loop = incremental_loop(experiment)
    cohort, seeds = experiment.cohort, experiment.cohort.seeds
    for row in loop.rows[1:]:
        a = row.decision.arrays
        assert not row.decision.relaxed
        assert np.array_equal(~np.isnan(a["u"]), a["passed_distance"]) and 0 < a["passed_distance"].sum() < 100
    fit, a = loop.rows[1].fit, loop.rows[1].decision.arrays
    asked = np.flatnonzero(a["passed_distance"])[:4]
    settings, reader = bank_settings(experiment.config), here(experiment).reader
    images = np.concatenate([seeds, asked])
    raw = np.full((len(cohort.id_N), experiment.config.swag.samples), np.nan)
    for image in images:
        patches = reader.patches(cohort.rows_N.take(np.array([image])), settings.strides)
        fold = fit.folds[cohort.fold_N[image]]
        for s in range(experiment.config.swag.samples):
            distance = np.sort(published.distances(patches, fold, settings, s)[0])
            raw[image, s] = distance[-TOP:].mean()
        mean = np.sort(published.distances(patches, fold, settings)[0])[-TOP:].mean()
        np.testing.assert_allclose(fit.s_N[image], mean, rtol=1e-4)
    u = calibrate.standardise_samples(raw, cohort.fold_N, cohort.seed_N).std(axis=1, ddof=1)
    np.testing.assert_allclose(a["u"][asked], u[asked], rtol=1e-2)
    np.testing.assert_allclose(fit.u_N[seeds], u[seeds], rtol=1e-2)
    z_u = (np.log(u[asked]) - np.log(u[seeds]).mean()) / np.log(u[seeds]).std(ddof=1)
    np.testing.assert_allclose(a["z_u"][asked], z_u, atol=0.05)
    table = rounds_table(experiment, audit, loop).to_pandas()
    assert table.u.notna().sum() == sum(row.decision.arrays["passed_distance"].sum() for row in loop.rows)
    assert table.u.notna().equals(table.z_u.notna()) and table.rejected.isna().all()


@pytest.mark.parametrize("method", METHODS)
def test_fault_3_seeds_and_held_out_normals_score_alike(tmp_path: Path, method: str) -> None:
    """The published script calibrates on seeds that sit in the bank, so almost no normal passes its gate."""
    p_values, passed = [], []
    for seed in range(4 if method == "contrast" else 2):
        settings = config("rounds=1", "memory.coreset_ratio=0.5", method=method)
        experiment, audit = made_up_experiment(tmp_path / str(seed), settings, normals=160, seed=seed)
        loop = incremental_loop(experiment)
        normals = np.flatnonzero(~experiment.cohort.seed_N & (audit.label_N == 0))
        for fit in [row.fit for row in loop.rows] + [loop.last]:
            p_values.append(calibrate.two_sample(fit.s_N[experiment.cohort.seeds], fit.s_N[normals]))
        passed.append((loop.seed_bank.z_N[normals] <= 1).mean())
    assert min(p_values) > 1e-3 and np.median(p_values) > 0.1
    assert min(passed) > 0.7

    # The same seeds, scored by a bank that holds them: the test would notice.
    seeds, bank = experiment.cohort.seeds, bank_settings(experiment.config)
    patches = here(experiment).reader.patches(experiment.cohort.rows_N.take(seeds), bank.strides)
    distance = np.stack([np.sort(distances(patches, fold, bank), axis=1) for fold in loop.seed_bank.folds[:2]])
    inside = distance[(experiment.cohort.fold_N[seeds] == 0).astype(int), np.arange(len(seeds)), -TOP:].mean(axis=1)
    assert calibrate.two_sample(inside, loop.seed_bank.s_N[normals]) < 1e-3
