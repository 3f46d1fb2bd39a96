"""The fused score of `contrast`, on made-up features and variants: recomputed from the fold models of its arms."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from swag_ray.core.posterior import fit_posterior
from swag_ray.core.quality import anomaly_probability
from swag_ray.experiment.loop import Trajectory, incremental_loop
from swag_ray.features.cohort import Variants
from swag_ray.features.reader import Rows
from swag_ray.methods.fit import Experiment, Fit, FittedArm
from swag_ray.methods.settings import bank_settings
from swag_ray.models import fold_bank
from swag_ray.models.fold_bank import distances
from tests.support.made_up_experiment import OFF, TOP, config, here, made_up_experiment

pytestmark = pytest.mark.usefixtures("one_thread")
Floats = NDArray[np.float64]


@pytest.fixture(scope="module")
def found(store: Path) -> tuple[Experiment, Trajectory]:
    import torch

    torch.set_num_threads(1)
    experiment, _ = made_up_experiment(store, config("rounds=2"), variants=True)
    return experiment, incremental_loop(experiment)


def variants_of(experiment: Experiment) -> Variants:
    assert experiment.cohort.variants is not None
    return experiment.cohort.variants


def by_own_bank(experiment: Experiment, bank: Fit, rows: Rows, fold_V: NDArray[np.int8]) -> Floats:
    settings, reader = bank_settings(experiment.config), here(experiment).reader
    out = np.empty(len(rows))
    for i in range(len(rows)):
        patches = reader.patches(rows.take(np.array([i])), settings.strides)
        out[i] = np.sort(distances(patches, bank.folds[fold_V[i]], settings)[0])[-TOP:].mean()
    return out


def by_own_head(experiment: Experiment, part: FittedArm, rows: Rows, fold_V: NDArray[np.int8]) -> Floats:
    """Raw logits (V, samples)."""
    pooled = here(experiment).reader.pooled(rows, (8, 16, 32), 4).astype(np.float64)
    out = np.empty((len(rows), experiment.config.swag.samples))
    for i, k in enumerate(fold_V):
        fold = part.folds[k]
        x = np.clip((pooled[i] - fold["mean"]) / fold["sd"], -8, 8)
        out[i] = fold["weight"].astype(np.float64) @ x + fold["bias"]
    return out


def arm(fit: Fit, name: str) -> FittedArm:
    (part,) = (part for part in fit.arms if part.arm.name == name)
    return part


def standardised(s: Floats, seed_N: NDArray[np.bool_]) -> Floats:
    return np.asarray((s - s[seed_N].mean()) / s[seed_N].std(ddof=1))


def test_no_auxiliary_head_sees_its_fold_nor_variants_of_it(found: tuple[Experiment, Trajectory]) -> None:
    """From what was really given to the tasks. Its normal side are seeds alone, each variant stands for its host."""
    experiment, _ = found
    cohort, variants = experiment.cohort, variants_of(experiment)

    def places(rows: Rows) -> list[tuple[int, int]]:
        return list(zip(rows.shard_N.tolist(), rows.row_N.tolist(), strict=True))

    seed_at = {place: int(i) for i, place in enumerate(places(cohort.rows_N)) if cohort.seed_N[i]}
    host_at = dict(zip(places(variants.rows_V), variants.host_V.tolist(), strict=True))
    tasks = [task for _, task in here(experiment).fits if "auxiliary" in task.names]
    assert [task.fold for task in tasks] == list(range(cohort.folds)), "fitted once for all rounds"
    for task in tasks:
        outside = np.flatnonzero(cohort.seed_N & (cohort.fold_N != task.fold)).tolist()
        given = places(task.train)
        normal = [place for place, altered in zip(given, task.abnormal, strict=True) if not altered]
        altered = [place for place, altered in zip(given, task.abnormal, strict=True) if altered]
        assert sorted(seed_at[place] for place in normal) == outside
        assert sorted(host_at[place] for place in altered) == outside, "one variant of each"
        assert [(seed_at | host_at)[place] for place in given] == task.image.tolist()
        assert sorted(seed_at[place] for place in places(task.seeds)) == outside
        assert task.weight is not None and (task.weight == 1).all()


def test_the_site_score_leaves_out_the_head_of_rejects(found: tuple[Experiment, Trajectory]) -> None:
    """It ranks as the first fit does, which the seeds alone have taught, whatever the head's weight."""
    _, loop = found
    first, last = loop.rows[0].fit, loop.last
    assert arm(last, "head").arm.weight > 0.1 and [part.arm.name for part in last.site.arms] == ["bank", "auxiliary"]
    for of_site, of_first in ((last.site.s_N, first.s_N), (last.site.s_TK, first.s_TK)):
        slope = np.polyfit(of_first.ravel(), of_site.ravel(), 1)
        np.testing.assert_allclose(np.polyval(slope, of_first), of_site, atol=1e-9)
        assert slope[0] > 0
    assert np.array_equal(last.site.p_T, first.p_T) and not np.array_equal(last.p_T, first.p_T)
    assert np.isnan(last.site.u_N).all() and first.site is first and loop.seed_bank.site is loop.seed_bank


def test_the_auxiliary_weight_is_what_held_out_variants_say(found: tuple[Experiment, Trajectory]) -> None:
    experiment, loop = found
    cohort, variants, first = experiment.cohort, variants_of(experiment), loop.rows[0].fit
    bank, auxiliary = arm(first, "bank"), arm(first, "auxiliary")
    fold_V, label = cohort.fold_N[variants.host_V], np.repeat([0, 1], [len(cohort.seeds), len(variants.host_V)])

    def chance(seeds: Floats, altered: Floats) -> float:
        return float(roc_auc_score(label, np.concatenate([seeds, altered])))

    by_bank = chance(loop.seed_bank.seed_s, by_own_bank(experiment, loop.seed_bank, variants.rows_V, fold_V))
    heads = by_own_head(experiment, auxiliary, variants.rows_V, fold_V).mean(axis=1)
    by_head = chance(auxiliary.arm.s_N[cohort.seeds], heads)
    weight = min(1, 2 * (1 - by_bank)) * min(1, max(0, (2 * by_head - 1) / 0.3))
    assert 0.1 < weight < 0.9 and by_head > 0.55, "a case in between"
    assert auxiliary.arm.weight / bank.arm.weight == pytest.approx(weight, abs=0.01)


def test_row_0_is_the_fused_score_of_bank_and_auxiliary_head(found: tuple[Experiment, Trajectory]) -> None:
    experiment, loop = found
    cohort, first = experiment.cohort, loop.rows[0].fit
    assert [part.arm.name for part in first.arms] == ["bank", "auxiliary"] and first.score_used == "fused"
    assert not first.head_on and first.reason == ""
    auxiliary = arm(first, "auxiliary")
    raw = by_own_head(experiment, auxiliary, cohort.rows_N, cohort.fold_N)
    np.testing.assert_allclose(auxiliary.arm.s_N, raw.mean(axis=1), rtol=1e-3, atol=1e-3)
    ratio = auxiliary.arm.weight / arm(first, "bank").arm.weight
    parts = [standardised(s, cohort.seed_N) for s in (loop.seed_bank.s_N, auxiliary.arm.s_N)]
    total = parts[0] + ratio * parts[1]
    np.testing.assert_allclose(first.s_N, total / total[cohort.seed_N].std(ddof=1))
    assert first.seed_s.std(ddof=1) == pytest.approx(1), "in the seeds' sd, as the head that joins it"
    assert not np.allclose(first.s_TK, loop.seed_bank.s_TK) and np.isfinite(first.u_N).all()


@pytest.mark.parametrize("n", [0, 1, 2])
def test_u_is_the_sd_of_the_fused_score_over_the_samples(found: tuple[Experiment, Trajectory], n: int) -> None:
    """Each head's sample by the other seeds of the image's fold under the same sample; the bank adds no spread."""
    experiment, loop = found
    cohort, fit = experiment.cohort, loop.rows[n].fit
    heads = [part for part in fit.arms if part.arm.name != "bank" and part.arm.weight > 0]
    assert len(heads) == min(n + 1, 2)
    rng = np.random.default_rng(0)
    raw = {part.arm.name: by_own_head(experiment, part, cohort.rows_N, cohort.fold_N) for part in heads}
    for image in np.concatenate([rng.choice(cohort.seeds, 8), rng.choice(cohort.pool, 8)]):
        others = cohort.seed_N & (cohort.fold_N == cohort.fold_N[image]) & (np.arange(len(cohort.id_N)) != image)
        total = np.zeros(experiment.config.swag.samples)
        for part in heads:
            r = raw[part.arm.name]
            total += part.arm.weight * (r[image] - r[others].mean(axis=0)) / r[others].std(axis=0, ddof=1)
        assert fit.u_N[image] == pytest.approx(total.std(ddof=1), rel=0.02, abs=1e-3)


def test_fit_n_weighs_a_head_of_the_last_rows_rejects(found: tuple[Experiment, Trajectory]) -> None:
    """By how far the likely anomalies of the row before lie apart that the head has not seen."""
    experiment, loop = found
    seed_N = experiment.cohort.seed_N
    fits = [*(row.fit for row in loop.rows), loop.last]
    for before, fit in pairwise(fits):
        bank, auxiliary, head = (arm(fit, name) for name in ("bank", "auxiliary", "head"))
        eta_N = fit_posterior(before.z_N[seed_N], before.z_N[~seed_N]).eta(before.z_N)
        z = standardised(head.arm.s_N, seed_N)
        likely, placebo = (np.average(z[on], weights=eta_N[on]) for on in (~seed_N, seed_N))
        signal, count = max(0, likely - max(placebo, 0)) ** 2, (eta_N[~seed_N] ** 2).sum()
        weight = signal / (signal + 1) * count / (count + 5)
        assert head.arm.weight == pytest.approx(weight) and 0.2 < weight < 1
        first = fits[0]
        for part, name in ((bank, "bank"), (auxiliary, "auxiliary")):
            assert part.arm.weight == pytest.approx((1 - weight) * arm(first, name).arm.weight)
        np.testing.assert_allclose(fit.s_N, weight * z + (1 - weight) * first.s_N, atol=1e-9)
        assert fit.head_on and fit.score_used == "fused"


def test_the_scale_of_the_banks_distances_moves_nothing(
    found: tuple[Experiment, Trajectory], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, plain = found
    score = fold_bank.image_score
    monkeypatch.setattr(fold_bank, "image_score", lambda distance, top: 40 * score(distance, top) + 3)
    experiment, _ = made_up_experiment(tmp_path, config("rounds=1"), variants=True)
    loop = incremental_loop(experiment)
    assert loop.seed_bank.seed_s.mean() > 3
    for row, other in zip(loop.rows, plain.rows, strict=False):
        np.testing.assert_allclose(row.fit.s_N, other.fit.s_N, atol=1e-3)
        np.testing.assert_allclose(row.fit.s_TK, other.fit.s_TK, atol=1e-3)
        np.testing.assert_allclose(row.fit.u_N, other.fit.u_N, atol=1e-3)
        assert np.array_equal(row.decision.rejects, other.decision.rejects)


def test_variants_that_are_their_hosts_get_no_weight(tmp_path: Path) -> None:
    """A head that has nothing to learn; the bank is as blind to them as can be."""
    for seed in range(3):
        experiment, _ = made_up_experiment(
            tmp_path / str(seed), config("rounds=1", *OFF), variants=True, variant_shift=0, seed=seed
        )
        loop = incremental_loop(experiment)
        first = loop.rows[0].fit
        assert arm(first, "auxiliary").arm.weight < 0.05
        np.testing.assert_allclose(standardised(first.s_N, experiment.cohort.seed_N), loop.seed_bank.z_N, atol=0.2)


@pytest.mark.parametrize("anomalies", [40, 6])
def test_variants_opposite_to_the_anomalies_lose_their_weight(tmp_path: Path, anomalies: int) -> None:
    """40 or 6 of them beside 120 pool normals: alone, the head ranks nearly every anomaly below the normals."""
    for seed in range(3):
        experiment, audit = made_up_experiment(
            tmp_path / str(seed), config("rounds=2"), variants=True, opposite=True, normals=240, anomalies=anomalies,
            tests=60, seed=seed,
        )  # fmt: skip
        loop = incremental_loop(experiment)
        first = loop.rows[0].fit
        by_head = arm(first, "auxiliary").arm.s_TK.mean(axis=1)
        assert roc_auc_score(audit.anomaly_T, by_head) < 0.1
        bank = roc_auc_score(audit.anomaly_T, loop.seed_bank.s_T)
        for fit in (first, loop.last):
            assert roc_auc_score(audit.anomaly_T, fit.s_T) > bank - 0.01
        assert "of its weight" in arm(first, "auxiliary").arm.reason


def test_quality_weighs_each_variant_by_its_own_fold_s_bank(tmp_path: Path) -> None:
    experiment, _ = made_up_experiment(tmp_path, config("rounds=1", "auxiliary.quality=eap", *OFF), variants=True)
    loop = incremental_loop(experiment)
    cohort, variants = experiment.cohort, variants_of(experiment)
    held_out = by_own_bank(experiment, loop.seed_bank, variants.rows_V, cohort.fold_N[variants.host_V])
    quality = dict(zip(variants.host_V, anomaly_probability(loop.seed_bank.seed_s, held_out), strict=True))
    tasks = [task for _, task in here(experiment).fits if "auxiliary" in task.names]
    for task in tasks:
        expected = [quality[i] if altered else 1 for i, altered in zip(task.image, task.abnormal, strict=True)]
        np.testing.assert_allclose(task.weight, expected, atol=1e-4)
    assert len(tasks) == 3 and np.ptp(list(quality.values())) > 0.1


def test_without_swag_the_heads_last_weights_score_and_nobody_is_uncertain(
    tmp_path: Path, found: tuple[Experiment, Trajectory]
) -> None:
    experiment, _ = made_up_experiment(tmp_path, config("rounds=1", "swag.samples=0"), variants=True)
    loop = incremental_loop(experiment)
    first = loop.rows[0].fit
    part = arm(first, "auxiliary")
    assert part.raw_NS is not None and part.raw_NS.shape[1] == 1 and np.isnan(first.u_N).all()
    assert {fold["weight"].shape[0] for fold in part.folds} == {1}
    spread = arm(found[1].rows[0].fit, "auxiliary")
    assert spread.raw_NS is not None  # of the same training: near its samples' mean, and not that
    gap = np.abs(part.raw_NS[:, 0] - spread.raw_NS.mean(axis=1))
    assert 0 < gap.max() < np.ptp(spread.raw_NS.mean(axis=1))
    assert loop.decision.arrays["admitted"].any(), "a null z_u passes the second gate"


def test_equal_weights_keep_the_rejects_and_drop_their_probability(tmp_path: Path) -> None:
    def weights(*overrides: str) -> Floats:
        experiment, _ = made_up_experiment(tmp_path, config("rounds=1", *overrides), variants=True)
        return np.asarray(incremental_loop(experiment).rows[0].decision.arrays["reject_weight"])

    soft, hard = weights(), weights("outliers.weights=equal")
    assert ((soft > 0) & (soft < 1)).any() and (hard == (soft > 0)).all()


def test_a_budget_of_none_fits_every_round_and_admits_nobody(tmp_path: Path) -> None:
    experiment, _ = made_up_experiment(tmp_path, config("rounds=3", "gate.budget=0"), variants=True)
    loop = incremental_loop(experiment)
    assert len(loop.rows) == 4 and not loop.exhausted
    assert not any(row.decision.arrays["ever"].any() for row in loop.rows)


def test_without_weight_the_seed_only_bank_stands(tmp_path: Path) -> None:
    experiment, _ = made_up_experiment(tmp_path, config("rounds=1", "auxiliary.weight=0", *OFF), variants=True)
    loop = incremental_loop(experiment)
    for fit in (loop.rows[0].fit, loop.rows[1].fit, loop.last):
        assert fit.score_used == "seed_bank" and not fit.head_on and np.isnan(fit.u_N).all()
        assert np.array_equal(fit.s_N, loop.seed_bank.s_N) and np.array_equal(fit.s_TK, loop.seed_bank.s_TK)
        assert arm(fit, "auxiliary").arm.weight == 0 and "by the head" in arm(fit, "auxiliary").arm.reason
